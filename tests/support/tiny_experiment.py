"""A complete experiment that takes seconds: random faces, a tiny backbone, two clients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import safe_open

from fedfr.config.schema import ExperimentConfig, load_config
from fedfr.faces import FaceSet

BACKBONE = "tests.support.tiny_backbone:TINY"
"""Of all tests that do not depend on SlimFace itself."""

SETTINGS = [
    "split.recipe=general",
    "split.settings.public_identities=4",
    "split.settings.clients=2",
    "split.settings.identities_per_client=3",
    "split.settings.test_count=2",
    "split.settings.min_images=4",
    "split.settings.distractors=generic",
    f"model.backbone={BACKBONE}",
    "pretrain.epochs=1",
    "pretrain.batch_size=8",
    "local.epochs=1",
    "local.batch_size=8",
    "local.learning_rate=0.01",
    "federation.rounds=2",
    # The longer way, on which they are sent, checked and averaged; without it there is only less to do.
    "federation.prototypes=share",
    "baselines=[]",
    "evaluation.fars=[0.1]",
    "evaluation.fpirs=[0.1]",
]


def tiny_faces(identities: int = 14, images: int = 5, seed: int = 0, *, alike: float = 0.0) -> FaceSet:
    """Coarse random patterns, one per identity, with noise: learnable, and no two images equal.

    ``alike``: how much of every image is a pattern of its own instead, 0 to 1; near 1 nobody can be told apart.
    """
    generator = np.random.default_rng(seed)
    patterns = generator.integers(0, 200, (identities, 7, 7, 3)).repeat(16, axis=1).repeat(16, axis=2)
    labels = np.repeat(np.arange(identities), images)
    noise = generator.integers(0, 50, (len(labels), 112, 112, 3))
    own = generator.integers(0, 200, (len(labels), 7, 7, 3)).repeat(16, axis=1).repeat(16, axis=2)
    return FaceSet(
        ((1 - alike) * patterns[labels] + alike * own + noise).astype(np.uint8),
        labels,
        tuple(f"person-{number:02d}" for number in range(identities)),
    )


def tiny_config(folder: Path, *more: str, alike: float = 0.0) -> ExperimentConfig:
    """Configuration over :func:`tiny_faces`, which are saved beside the run."""
    faces = folder / "faceset"
    if not faces.exists():
        tiny_faces(alike=alike).save(faces)
    return load_config(None, [f"faces.path={faces}", *SETTINGS, *more])


def bits(run: Path) -> dict[str, bytes]:
    """Every tensor of every model and private state below a run's folder."""
    found = {}
    for path in sorted(run.rglob("*.safetensors")):
        with safe_open(str(path), "np") as file:
            for name in sorted(file.keys()):
                found[f"{path.relative_to(run)} {name}"] = file.get_tensor(name).tobytes()
    return found
