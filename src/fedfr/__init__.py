"""Federated face recognition: FedFR (AAAI 2022), its baselines and its evaluation."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from fedfr.core.lazy import exports

# The only place of the version; pyproject.toml reads it from here.
__version__ = "0.1.0"

if sys.platform == "win32":
    _REASON = "fedfr does not run on Windows itself, which lacks its file locks; use it inside WSL (Linux), with WSL 2"
    # The command gets one line, as for every other mistake; an import gets the exception that it can handle.
    if sys.argv[:1] == ["-m"] or sys.argv[0].replace("\\", "/").rpartition("/")[2] in ("fedfr", "fedfr.exe"):
        raise SystemExit(f"fedfr: {_REASON}")
    raise ImportError(_REASON)

if TYPE_CHECKING:
    from fedfr import evaluation, faces, losses, methods, models
    from fedfr.audit.face_audit import audit
    from fedfr.config.schema import ExperimentConfig, load_config
    from fedfr.core.errors import FedfrError
    from fedfr.experiments.catalogue import list_backbones, list_losses, list_methods, list_protocols
    from fedfr.experiments.experiment import Experiment
    from fedfr.experiments.model_evaluation import evaluate
    from fedfr.experiments.registration import (
        register_aggregation,
        register_backbone,
        register_importer,
        register_loss,
        register_method,
        register_protocol,
        register_split,
    )
    from fedfr.faces import FaceSet, Split, import_folder, import_orl, make_split
    from fedfr.recognition.recognizer import Recognizer
else:
    __getattr__ = exports(
        __name__,
        {
            "audit.face_audit": "audit",
            "config.schema": "ExperimentConfig load_config",
            "core.errors": "FedfrError",
            "experiments.experiment": "Experiment",
            "faces": "FaceSet Split import_folder import_orl make_split",
            "experiments.catalogue": "list_backbones list_losses list_methods list_protocols",
            "experiments.model_evaluation": "evaluate",
            "recognition.recognizer": "Recognizer",
            "experiments.registration": "register_aggregation register_backbone register_importer "
            "register_loss register_method register_protocol register_split",
        },
        packages="evaluation faces losses methods models",
    )

__all__ = [
    "Experiment",
    "ExperimentConfig",
    "FaceSet",
    "FedfrError",
    "Recognizer",
    "Split",
    "__version__",
    "audit",
    "evaluate",
    "evaluation",
    "faces",
    "import_folder",
    "import_orl",
    "list_backbones",
    "list_losses",
    "list_methods",
    "list_protocols",
    "load_config",
    "losses",
    "make_split",
    "methods",
    "models",
    "register_aggregation",
    "register_backbone",
    "register_importer",
    "register_loss",
    "register_method",
    "register_protocol",
    "register_split",
]


def __dir__() -> list[str]:
    return sorted(__all__)
