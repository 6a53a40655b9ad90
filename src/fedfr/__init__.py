"""Federated face recognition: FedFR (AAAI 2022), its baselines and its evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedfr.lazy import exports

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fedfr import evaluation, faces, losses, methods, models
    from fedfr.auditing import audit
    from fedfr.config import ExperimentConfig, load_config
    from fedfr.errors import FedfrError
    from fedfr.experiment import Experiment
    from fedfr.faces import FaceSet, Split, import_folder, import_orl, make_split
    from fedfr.lists import list_backbones, list_methods, list_protocols
    from fedfr.model_evaluation import evaluate
else:
    __getattr__ = exports(
        __name__,
        {
            "auditing": "audit",
            "config": "ExperimentConfig load_config",
            "errors": "FedfrError",
            "experiment": "Experiment",
            "faces": "FaceSet Split import_folder import_orl make_split",
            "lists": "list_backbones list_methods list_protocols",
            "model_evaluation": "evaluate",
        },
        packages="evaluation faces losses methods models",
    )

__all__ = [
    "Experiment",
    "ExperimentConfig",
    "FaceSet",
    "FedfrError",
    "Split",
    "__version__",
    "audit",
    "evaluate",
    "evaluation",
    "faces",
    "import_folder",
    "import_orl",
    "list_backbones",
    "list_methods",
    "list_protocols",
    "load_config",
    "losses",
    "make_split",
    "methods",
    "models",
]


def __dir__() -> list[str]:
    return sorted(__all__)
