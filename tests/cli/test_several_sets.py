"""Several face sets on the command line: split, audit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.tiny_experiment import tiny_faces

from fedfr.faces import FaceSet, Split
from fedfr.faces.face_sets import NamedSet, combine


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for seed, (name, prefix) in enumerate({"pub": "p", "north": "q", "south": "P"}.items()):
        faces = tiny_faces(4, 4, seed)
        faces.renamed([f"{prefix}{number}" for number in range(4)], faces.names).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


Fedfr = Callable[..., Any]
BOTH = ("--public", "pub", "--private", "north=north", "--private", "south=south")


def test_several_sets_are_split(sets: Path, fedfr: Fedfr) -> None:
    refused = fedfr("faces", "split", "s.json", *BOTH, "--recipe", "sets")
    assert refused.code == 2
    assert "4 identities are in more than one face set: 'P0' of south (same name as 'p0' of public)" in refused.err
    made = fedfr("faces", "split", "s.json", *BOTH, "--recipe", "sets", "--overlap", "distinct", "--json")
    assert [(part["name"], part["role"]) for part in json.loads(made.out)["sets"]] == [
        *(("public", "public"), ("north", "private"), ("south", "private"))
    ]
    assert Split.load(sets / "s.json").sets[1].images == 16
    (sets / "out.txt").write_text("P0\nP1\nP2\n")
    south = ("--public", "pub", "--private", "south=south", "--exclude-identities", "south=out.txt", "--recipe", "sets")
    refused = fedfr("faces", "split", "t.json", *south, "--overlap", "drop")
    assert "face set 'south' has no identities left; 4 are left out" in refused.err
    assert fedfr("faces", "split", "t.json", *south, "--overlap", "distinct").code == 0
    assert Split.load(sets / "t.json").sets[1].left_out == dict.fromkeys(["P0", "P1", "P2"], "out.txt")


def test_info_names_the_sets_of_a_run(sets: Path, fedfr: Fedfr) -> None:
    public, north = (FaceSet.load(sets / name) for name in ("pub", "north"))
    whole = combine([NamedSet("lfw", "public", public), NamedSet("north", "private", north)], sets / "whole")
    shown = fedfr("faces", "info", "whole").out
    assert f"face set lfw (public, 16 images of 4 identities, fingerprint {whole.sets[0].fingerprint[:12]})" in shown
    assert "face set north (private, 16 images of 4 identities, " in shown
    assert json.loads(fedfr("faces", "info", "whole", "--json").out)["sets"][1] == whole.sets[1].to_dict()
    assert json.loads(fedfr("faces", "info", "pub", "--json").out)["sets"] == []


def test_several_sets_are_audited_together(sets: Path, fedfr: Fedfr) -> None:
    found = json.loads(fedfr("faces", "audit", *BOTH, "--json", "--csv", "f.csv").out)["findings"]
    assert [each["count"] for each in found if each["kind"] == "alike-names"] == [4]
    assert "private/" not in (sets / "f.csv").read_text()
    assert fedfr("faces", "split", "s.json", *BOTH, "--recipe", "sets", "--overlap", "distinct").code == 0
    found = json.loads(fedfr("faces", "audit", *BOTH, "--split", "s.json", "--json").out)["findings"]
    assert [each["count"] for each in found if each["kind"] == "alike-names-in-two-parts"] == [4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["split", "pub"], "the name of the manifest is missing"),
        (
            ["split", "pub", "x.json", "--overlap", "drop"],
            "--exclude-identities are for several face sets",
        ),
        (["split", "pub", "x.json", "--compare-with", "m"], "--compare-with is for several face sets"),
        (["split", "pub", "x.json", "--public", "pub"], "give one face set or several"),
        (["split", "x.json", "--public", "none"], "face set 'public' (--public): "),
        (["split", "x.json", "--private", "a=north", "--private", "A=south"], "two face sets have the same name"),
        (
            ["split", "x.json", "--private", "north", "--exclude-identities", "b=f"],
            "face set 'b'; there are private",
        ),
        (["split", "x.json", "--private", "north", "--exclude-identities", "b"], "is not of the form NAME=PATH"),
        (["split", "x.json", "--private", "north", "--overlap", "merge"], "give one of refuse, drop, distinct"),
        (["audit"], "no faces are given; give FACES"),
    ],
)
def test_incompatible_sets_are_refused(sets: Path, fedfr: Fedfr, arguments: list[str], message: str) -> None:
    answer = fedfr("faces", *arguments)
    assert answer.code == 2
    assert message in answer.err
    assert len(answer.err.strip().splitlines()) == 1
    assert not (sets / "x.json").exists()
