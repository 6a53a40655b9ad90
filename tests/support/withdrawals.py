"""A site without training: faces, lists, private states, a gallery and logs, all with the person who withdraws."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from tests.support.deployment_folders import named
from tests.support.galleries import filled_gallery
from tests.support.gallery_traces import sealed_pieces
from tests.support.kill_steps import found_in
from tests.support.tiny_experiment import tiny_faces

from fedfr.config.schema import LocalConfig, MethodConfig
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.secrets import make_node_key, save_key
from fedfr.faces import ClientFaces, FaceSet, Split
from fedfr.federation.private_state import PrivateState
from fedfr.federation.private_store import PrivateStore
from fedfr.recognition.gallery.gallery import Gallery

__all__ = ["CLIENT", "PEOPLE", "WHO", "WithdrawalSite", "check_erased", "enrolled", "no_passphrase", "private_state"]

CLIENT, WHO = "clinic-a", "Zoë Quill"
PEOPLE = ("Bo Reed", WHO, "Cy Zoëlle", "Di Marsh")
WIDTH = 16


@dataclass(frozen=True)
class WithdrawalSite:
    """Folder of a site, and of its gallery."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, people: tuple[str, ...] = PEOPLE) -> WithdrawalSite:
        """Write the folders ``site`` and ``door``."""
        site = folder / "site"
        named(tiny_faces(len(people), 3, seed=5), people).save(site / "faces")
        faces = FaceSet.load(site / "faces")
        faces.subset(range(3, 9)).save(site / "earlier" / "copy")
        # The last image of each is for the site's own test.
        own = ClientFaces([row for row in range(len(faces)) if row % 3 < 2], range(2, len(faces), 3))
        Split("site", 0, faces.fingerprint(), (), {CLIENT: own}, (), ()).describe(faces).save(site / "split.json")
        rows = ["image,reason", f"{WHO}/9.jpg,small", "Bo Reed/8.jpg,small"]
        for place in (site / "faces" / "skipped.csv", site / "faces.skipped.csv"):
            place.write_text("\n".join(rows) + "\n", "utf-8")
        omitted = [{"index": 9, "image": f"{who}#7", "identity": who, "reason": "marked"} for who in people[:2]]
        (site / "faces" / "excluded.json").write_text(json.dumps({"images": omitted, "lost_identities": [WHO]}))
        Agreement(
            run="first",
            clients=(CLIENT, "clinic-b"),
            seed=0,
            backbone="slimface-small",
            public="",
            method=MethodConfig(name="local"),
            local=LocalConfig(),
            rounds=9,
            weights="trained",
            batchnorm="average",
            updates="full",
        ).save(site / "agreement.yaml")
        content = {
            "client": CLIENT,
            "agreement": "agreement.yaml",
            "faces": {"path": "faces", "manifest": "split.json"},
            "galleries": ["../door"],
        }
        (site / "site.yaml").write_text(yaml.safe_dump(content), "utf-8")
        save_key(site / "site.key", make_node_key())
        (site / "log.jsonl").write_text(
            json.dumps({"level": "error", "message": f"image {WHO!r} of Bo Reed is damaged"}, ensure_ascii=False) + "\n"
        )
        (site / "debug.log.1").write_text(f"no face in /photos/{WHO}/9.jpg\n", "utf-8")
        made = cls(site)
        for name, rounds in ((Agreement.load(site / "agreement.yaml").fingerprint[:16], (1, 3, 4)), ("0" * 16, (2,))):
            store = PrivateStore(site / "private" / name, CLIENT)
            for number in rounds:
                store.save(private_state(store, number, people))
            (store.folder / "personal.safetensors").write_bytes(b"a model of everybody")
            (store.folder / "secure-sums").mkdir()
            (store.folder / "secure-sums" / "vector").write_bytes(b"the update of a round in progress")
        (site / "private" / ".model-left").mkdir()
        (site / "private" / ".model-left" / "personalized.safetensors").write_bytes(b"a killed rebuild")
        with filled_gallery(folder / "door", (people[0], WHO)):
            pass
        return made

    @property
    def file(self) -> Path:
        return self.folder / "site.yaml"

    @property
    def door(self) -> Path:
        return self.folder.parent / "door"

    def stores(self) -> list[PrivateStore]:
        """The stores of private states, that of the agreement last."""
        return [PrivateStore(place, CLIENT) for place in sorted((self.folder / "private").glob("?" * 16))]

    def traces(self, person: str, who: str = WHO) -> dict[str, bytes]:
        """Bytes by which the person could be found; ``person``: id in the gallery."""
        faces = FaceSet.load(self.folder / "faces")
        pieces = {"name": who.encode(), "escaped name": json.dumps(who)[1:-1].encode()}
        for row in faces.indices_of(faces.identities.index(who)).tolist():
            pieces[f"crop {row}"] = faces.images([row]).tobytes()[5000:5032]
            pieces[f"digest {row}"] = faces.digests()[row]
        pieces["update"] = b"the update of a round in progress"
        for number, store in enumerate(self.stores()):
            pieces[f"hash {number}"] = store.identities([who])[0].encode()
            for round_number in store.rounds():
                state = store.at_or_before(round_number)
                assert state is not None
                for what, rows in (("prototype", state.prototypes), ("branch", state.dfc["branches.weight"])):
                    pieces[f"{what} {number} {round_number}"] = np.asarray(rows)[faces.identities.index(who)].tobytes()
        sealed = sealed_pieces(self.door, person)
        return pieces | {f"gallery {what}": piece for what, piece in sealed.items()}


def private_state(store: PrivateStore, number: int, people: tuple[str, ...]) -> PrivateState:
    """A state whose rows and backbone are random."""
    generator = torch.Generator().manual_seed(number)
    backbone = {"conv.weight": torch.randn(8, generator=generator)}
    dfc = {
        "branches.weight": torch.randn(len(people), WIDTH, generator=generator),
        "branches.bias": torch.randn(len(people), generator=generator),
        "transform.weight": torch.randn(4, generator=generator),
    }
    prototypes = torch.randn(len(people), WIDTH, generator=generator)
    return PrivateState(number, backbone, prototypes, dfc, identities=store.identities(people))


def no_passphrase(gallery: Path) -> None:
    return None


def enrolled(door: Path, name: str = WHO) -> str:
    with Gallery.open(door) as gallery:
        person = gallery.find(name)
        assert person is not None
        return person.id


def check_erased(site: WithdrawalSite, traces: dict[str, bytes], *, rows: int = 3) -> None:
    assert found_in(site.folder.parent, traces) == []
    faces = FaceSet.load(site.folder / "faces")
    assert faces.identities == tuple(name for name in PEOPLE if name != WHO)
    assert FaceSet.load(site.folder / "earlier" / "copy").identities == ("Cy Zoëlle",)
    for store in site.stores():
        for number in store.rounds():
            state = store.at_or_before(number)
            assert state is not None
            assert state.is_consistent()
            assert len(state.prototypes) == rows
    with Gallery.open(site.door) as gallery:
        assert [person.name for person in gallery.persons()] == ["Bo Reed"]
    hidden = [path.name for path in site.folder.rglob(".*") if path.name != ".lock"]
    assert hidden == []
    assert not (site.folder / "private" / "erasure.json").exists()
