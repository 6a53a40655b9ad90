"""Backbones, the DFC head of a client, and model files: reading, writing, importing and exporting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedfr.core.lazy import exports

if TYPE_CHECKING:
    from fedfr.models.backbone_registry import BACKBONES
    from fedfr.models.build import build_backbone
    from fedfr.models.checkpoint import Contract, embedding_space, load_model, save_model
    from fedfr.models.entries import check_entries, load_entries, load_weights, recognize_backbone
    from fedfr.models.foreign import FoundBackbone, backbone_of, load_backbone, load_foreign
    from fedfr.models.foreign_heads import foreign_dfc_entries, load_foreign_dfc, load_foreign_prototypes
    from fedfr.models.heads import DFC, TransformKind
    from fedfr.models.importing import ImportedModel, import_weights
    from fedfr.models.inspection import inspect_model
    from fedfr.models.layouts import LAYOUTS, Layout, ModelSource
    from fedfr.models.model_parts import ModelParts
    from fedfr.models.opened_model import OpenedModel, open_model
    from fedfr.models.personalized_model import Personalized
    from fedfr.models.preprocessing import Preprocessing
    from fedfr.models.spec import BackboneSpec
    from fedfr.models.user_preprocessing import NO_USER_PREPROCESSING, UserPreprocessing
else:
    __getattr__ = exports(
        __name__,
        {
            "build": "build_backbone",
            "checkpoint": "Contract embedding_space load_model save_model",
            "inspection": "inspect_model",
            "entries": "check_entries load_entries load_weights recognize_backbone",
            "foreign": "FoundBackbone backbone_of load_backbone load_foreign",
            "foreign_heads": "foreign_dfc_entries load_foreign_dfc load_foreign_prototypes",
            "heads": "DFC TransformKind",
            "importing": "ImportedModel import_weights",
            "layouts": "LAYOUTS Layout ModelSource",
            "opened_model": "OpenedModel open_model",
            "model_parts": "ModelParts",
            "personalized_model": "Personalized",
            "preprocessing": "Preprocessing",
            "backbone_registry": "BACKBONES",
            "spec": "BackboneSpec",
            "user_preprocessing": "NO_USER_PREPROCESSING UserPreprocessing",
        },
    )

__all__ = [
    "BACKBONES",
    "DFC",
    "LAYOUTS",
    "NO_USER_PREPROCESSING",
    "BackboneSpec",
    "Contract",
    "FoundBackbone",
    "ImportedModel",
    "Layout",
    "ModelParts",
    "ModelSource",
    "OpenedModel",
    "Personalized",
    "Preprocessing",
    "TransformKind",
    "UserPreprocessing",
    "backbone_of",
    "build_backbone",
    "check_entries",
    "embedding_space",
    "foreign_dfc_entries",
    "import_weights",
    "inspect_model",
    "load_backbone",
    "load_entries",
    "load_foreign",
    "load_foreign_dfc",
    "load_foreign_prototypes",
    "load_model",
    "load_weights",
    "open_model",
    "recognize_backbone",
    "save_model",
]


def __dir__() -> list[str]:
    return sorted(__all__)
