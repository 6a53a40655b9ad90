"""Validation of client ids at every place where an id is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from tests.support.tiny_experiment import tiny_config, tiny_faces

from fedfr.core.client_ids import check_client_id, check_client_ids, is_client_id
from fedfr.core.errors import FedfrError
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.server_app import run_folder
from fedfr.deployment.site_config import SiteConfig
from fedfr.deployment.site_folder import init_site
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.method_run import MethodRun
from fedfr.faces import ClientFaces, Split, make_split
from fedfr.federation.messages import Hello, Update, decode_hello, decode_reply, decode_update, encode

BAD = {
    "up": "../../../escaped",
    "absolute": "/tmp/escaped",
    "below": "a/b",
    "backslash": "a\\b",
    "empty": "",
    "dot": ".",
    "dots": "..",
    "hidden": ".hidden",
    "nul": "a\0b",
    "line": "a\nb",
    "blank": " a",
    "option": "-rf",
    "temporary": ".a.1.tmp",
    "quote": 'a"b',
    "colon": "a:b",
    "tag": "<script>",
    "too long": "a" * 65,
    "far too long": "a" * 5000,
    "too many bytes": "\U00020000" * 60,
    "decomposed": "su\u0308d",
    "invisible": "a\u200bb",
    "right to left": "a\u202eb",
    "half a sign": "a\ud800",
    "part of a split": "public",
    "part in capitals": "Generic",
    "participant": "pooled",
}
GOOD = ["client-01", "007", "a.b_c-d", "NORTH", "s\u00fcd", "\u5317", "a" * 64]
ALIKE = [("north", "North"), ("stra\u00dfe", "strasse"), ("\ufb01x", "fix"), ("x\u00b2", "x2")]

FACES = tiny_faces(8, 4)


def split_of(*clients: str) -> Split:
    own = {client: ClientFaces(tuple(range(4 * at, 4 * at + 4)), ()) for at, client in enumerate(clients)}
    return Split("given", 0, FACES.fingerprint(), tuple(range(16, 32)), own, (), ())


@pytest.mark.parametrize("given", GOOD)
def test_valid_ids(given: str) -> None:
    assert check_client_id(given) == given
    assert list(split_of(given, "other").clients) == [given, "other"]


@pytest.mark.parametrize("given", [None, 7, False, b"a", ["a"]])
def test_only_a_text_is_an_id(given: object) -> None:
    assert not is_client_id(given)


def manifest(given: str, place: Path) -> None:
    path = place / "split.json"
    split_of("client-01", "client-02").save(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    content["clients"] = {given: content["clients"]["client-01"]}
    path.write_text(json.dumps(content), encoding="utf-8")
    Split.load(path)


def agreement(given: str, place: Path) -> None:
    method_run = MethodRun(Experiment(tiny_config(place), place / "run").components, "fedfr", place / "run")
    terms = Agreement.of(method_run).model_dump(mode="json") | {"clients": ["client-01", given]}
    (place / "agreement.yaml").write_text(yaml.safe_dump(terms), encoding="utf-8")
    Agreement.load(place / "agreement.yaml")


def site_file(given: str, place: Path) -> None:
    content = {"client": given, "agreement": "agreement.yaml", "faces": {"path": "faces"}}
    (place / "site.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    SiteConfig.load(place / "site.yaml")


def site_folder(given: str, place: Path) -> None:
    init_site(place / "site", given, "localhost:9443", place / "ca.crt", "faces", 9444, 1)


def registration(given: str, place: Path) -> None:
    coordinator = Coordinator.init(place / "coordinator", ["localhost"], "demo", 9443, 9442)
    coordinator.register(given, place / "site.key.pub")


def hello(given: str, place: Path) -> None:
    decode_hello(encode(Hello(given, "a", "b", "1")))


def update(given: str, place: Path) -> None:
    decode_update(encode(Update(1, given, {"w": torch.ones(2)}, None, 1)))


def reply(given: str, place: Path) -> None:
    decode_reply(encode(Update(1, given, {"w": torch.ones(2)}, None, 1)))


ENTRIES: dict[str, Callable[[str, Path], object]] = {
    "one function": lambda given, place: check_client_id(given),
    "split": lambda given, place: split_of("client-01", given),
    "manifest": manifest,
    "recipe sites": lambda given, place: make_split(FACES, "sites", clients=["north", given]),
    "recipe partition": lambda given, place: make_split(
        FACES, "partition", partition=["north"] * 16 + [given or "."] * 16
    ),
    "agreement": agreement,
    "site.yaml": site_file,
    "site init": site_folder,
    "server register": registration,
    "hello": hello,
    "update": update,
    "reply": reply,
}
# The participant of `centralized` answers like a client.
OF_PARTICIPANTS = {"update", "reply"}
RARE = {"agreement", "server register"}
"""Each takes a while: tried with the ids that matter most."""


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        (entry, kind)
        for entry in ENTRIES
        for kind in BAD
        if entry not in RARE or kind in ("up", "empty", "nul", "decomposed", "part of a split")
        if entry not in OF_PARTICIPANTS or kind != "participant"
    ],
)
def test_invalid_ids_are_refused_everywhere(entry: str, kind: str, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    with pytest.raises(FedfrError) as caught:
        ENTRIES[entry](BAD[kind], place)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700
    assert [path.name for path in tmp_path.iterdir()] == ["place"]
    assert not (place / "site").exists()


@pytest.mark.parametrize(("first", "second"), [*ALIKE, ("same", "same")])
def test_similar_ids_are_refused(first: str, second: str, tmp_path: Path) -> None:
    """Ids that share a folder on some file systems or look the same are refused."""
    with pytest.raises(FedfrError, match="is too similar to"):
        check_client_ids([first, second])
    if first != second:
        with pytest.raises(FedfrError, match="is too similar to"):
            split_of(first, second)
        with pytest.raises(FedfrError, match="is too similar to"):
            make_split(FACES, "sites", clients=[first, second])


def test_a_manifest_with_paths_as_ids_writes_nothing(tmp_path: Path) -> None:
    made = Experiment.create(tiny_config(tmp_path), tmp_path / "made").components.split
    path = tmp_path / "split.json"
    made.save(path)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"client-01"', '"../../../escaped"'), encoding="utf-8")
    before = {place.name for place in tmp_path.iterdir()}
    with pytest.raises(FedfrError, match=r"split.json: client '../../../escaped' is not a valid client id"):
        Experiment.create(tiny_config(tmp_path, f"split.manifest={path}"), tmp_path / "below" / "the" / "run")
    assert {place.name for place in tmp_path.iterdir()} - {"below"} == before
    assert not (tmp_path / "below" / "the" / "run" / "clients").exists()


@pytest.mark.parametrize(
    "kind", [kind for kind in BAD if kind not in ("part of a split", "participant", "part in capitals")]
)
def test_a_flower_run_names_only_folders_of_runs(kind: str, tmp_path: Path) -> None:
    with pytest.raises(FedfrError, match="give the name of a folder in"):
        run_folder({"FEDFR_RUNS": str(tmp_path)}, {"fedfr-run": BAD[kind], "run": BAD[kind]})
