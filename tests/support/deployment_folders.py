"""Folders of a coordinator with a submitted run and of one of its sites, complete and correct."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from tests.support.tiny_experiment import BACKBONE, tiny_config, tiny_faces

from fedfr.config.schema import SplitConfig
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.background import free_port
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.secrets import make_node_key, save_key
from fedfr.deployment.site_folder import init_site
from fedfr.faces import FaceSet

__all__ = ["OTHER", "RUN", "SITE", "Deployment", "edit", "named"]

RUN, SITE, OTHER = "first", "clinic-a", "clinic-b"


@dataclass
class Deployment:
    """Coordinator and the folder of its site :data:`SITE`; the key of :data:`OTHER` is registered as well."""

    coordinator: Coordinator
    site: Path

    @property
    def site_file(self) -> Path:
        return self.site / "site.yaml"

    @property
    def run(self) -> Path:
        return self.coordinator.runs / RUN

    @classmethod
    def make(cls, folder: Path, *settings: str, strangers: int = 0) -> Deployment:
        coordinator = Coordinator.init(folder / "coordinator", ["localhost"], "hospitals", free_port(), free_port())
        save_key(folder / "other.key", make_node_key())
        coordinator.register(OTHER, folder / "other.key.pub")
        server = f"localhost:{coordinator.config.port}"
        made = init_site(
            folder / "site", SITE, server, coordinator.tls / "ca.crt", "faces", port=free_port(), threads=1
        )
        text = made.config.read_text("utf-8")
        made.config.write_text(text.replace("allow: []", f"allow: [{BACKBONE}]"), "utf-8")
        coordinator.register(SITE, made.public_key)
        unseen = {"generic_identities": 3 + strangers, "stranger_identities": strangers}
        split = SplitConfig(recipe="sites", settings={"clients": [SITE, OTHER], **unseen})
        config = tiny_config(folder, *settings).model_copy(update={"split": split})
        agreement = coordinator.submit(RUN, config)
        (made.config.parent / "agreement.yaml").write_bytes(agreement.read_bytes())
        named(tiny_faces(3, 5, seed=7), [f"patient-{number}" for number in range(3)]).save(folder / "site" / "faces")
        terms = Agreement.load(agreement)
        for name, fingerprint in (("public", terms.public), ("strangers", terms.strangers)):
            if fingerprint:
                FaceSet.load(coordinator.proxy.folder / "public" / fingerprint).save(folder / "site" / name)
        return cls(coordinator, folder / "site")

    @classmethod
    def copy_of(cls, prepared: Path, folder: Path) -> Deployment:
        """A copy, which a test may damage, of folders written by :meth:`make`."""
        for part in ("coordinator", "site"):
            shutil.copytree(prepared / part, folder / part)
        return cls(Coordinator.open(folder / "coordinator"), folder / "site")


def named(faces: FaceSet, identities: Sequence[str]) -> FaceSet:
    """The same images with other identity names."""
    return FaceSet(faces.images(range(len(faces))), faces.labels, identities)


def edit(path: Path, **changes: object) -> None:
    """Change entries of a YAML file."""
    content = yaml.safe_load(path.read_text("utf-8"))
    path.write_text(yaml.safe_dump({**content, **changes}), "utf-8")
