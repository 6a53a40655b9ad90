"""Federated face recognition: FedFR (AAAI 2022), its baselines and its evaluation."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fedfr.config import ExperimentConfig as ExperimentConfig
    from fedfr.config import load_config as load_config
    from fedfr.errors import FedfrError as FedfrError
    from fedfr.experiment import Experiment as Experiment
    from fedfr.faces import FaceSet as FaceSet
    from fedfr.faces import Split as Split
    from fedfr.faces import import_folder as import_folder
    from fedfr.faces import import_orl as import_orl
    from fedfr.faces import make_split as make_split
    from fedfr.lists import list_backbones as list_backbones
    from fedfr.lists import list_methods as list_methods
    from fedfr.lists import list_protocols as list_protocols
    from fedfr.model_evaluation import evaluate as evaluate

# Nothing is imported until it is asked for: `fedfr --help` must not wait for torch.
_HOMES = {
    "ExperimentConfig": "fedfr.config",
    "load_config": "fedfr.config",
    "FedfrError": "fedfr.errors",
    "Experiment": "fedfr.experiment",
    "FaceSet": "fedfr.faces",
    "Split": "fedfr.faces",
    "import_folder": "fedfr.faces",
    "import_orl": "fedfr.faces",
    "make_split": "fedfr.faces",
    "list_backbones": "fedfr.lists",
    "list_methods": "fedfr.lists",
    "list_protocols": "fedfr.lists",
    "evaluate": "fedfr.model_evaluation",
}

__all__ = [
    "Experiment",
    "ExperimentConfig",
    "FaceSet",
    "FedfrError",
    "Split",
    "__version__",
    "evaluate",
    "import_folder",
    "import_orl",
    "list_backbones",
    "list_methods",
    "list_protocols",
    "load_config",
    "make_split",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fedfr' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
