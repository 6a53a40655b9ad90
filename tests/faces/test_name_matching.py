"""Names that look the same: reported at import and in an audit, refused across parts of a split."""

from __future__ import annotations

import unicodedata
import warnings
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from fedfr.audit import audit_images
from fedfr.core.errors import FedfrError
from fedfr.deployment.site_sets import check_disjoint
from fedfr.faces import FaceSet, FacesWarning, import_faces, make_split
from fedfr.faces.face_sets import NamedSet, combine
from fedfr.faces.name_matching import groups_of_similar_names, matching_names, normalized_name, quoted_name

COMPOSED, TAKEN_APART = "Zoë", unicodedata.normalize("NFD", "Zoë")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (COMPOSED, TAKEN_APART),
        ("Ann A", "ann a"),
        ("Ann A", " Ann  A "),
        ("Ann A", "Ann\u00a0A"),
        ("Ann A", "Ann_A"),
        ("Ann A", "An\u200bn A\ufeff"),
        ("Ann A", "Ａnn　Ａ"),
        ("Ann A", "A\u00adnn\tA"),
        ("Strauß", "STRAUSS"),
        ("O'Neil", "O\u2019Neil"),
        ("O'Neil", "O\u00b4Neil"),
        ("Jean-Luc", "Jean\u2010Luc"),
        ("Jean-Luc", "Jean\u2011Luc"),
        ("Ann", "\u0410nn"),
        ("ﬁnn", "finn"),
        ("Zoe\u034f\u0308", COMPOSED),
        ("ά", "ΐ".replace("ΐ", unicodedata.normalize("NFD", "Ά"))),
    ],
)
def test_names_that_look_the_same(one: str, other: str) -> None:
    assert one != other
    assert normalized_name(one) == normalized_name(other)
    assert groups_of_similar_names([one, "somebody else", other]) == [(one, other)]
    assert matching_names([one], ["somebody else", other]) == [(one, other)]


@pytest.mark.parametrize(("one", "other"), [("Zoë", "Zoe"), ("Ann A", "AnnA"), ("p1", "p_1"), ("001", "1"), ("_", "")])
def test_names_that_differ(one: str, other: str) -> None:
    assert groups_of_similar_names([one, other]) == []


def test_invisible_characters_are_escaped() -> None:
    assert quoted_name("Ann") == "'Ann'"
    assert quoted_name(TAKEN_APART).endswith("('Zoe\\u0308')")


def faces(*identities: str, each: int = 4, seed: int = 0) -> FaceSet:
    pixels = np.random.default_rng(seed).integers(0, 256, (each * len(identities), 112, 112, 3), np.uint8)
    return FaceSet(pixels, np.repeat(np.arange(len(identities)), each), identities)


def test_importers_warn_and_merge_nothing(tmp_path: Path) -> None:
    for number, name in enumerate(("Ann A", "Ann_A", "Bo")):
        (tmp_path / "people" / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "people" / name / "1.png"), np.full((112, 112, 3), 40 * number, np.uint8))
    (tmp_path / "people" / "metadata.csv").write_text(
        "file_name,identity\nAnn A/1.png,Zo\u00eb\nAnn_A/1.png,Zoe\u0308\nBo/1.png,Bo\n", encoding="utf-8"
    )
    expected = r"1 names occur in several spellings that look the same, which remain separate.*Zoe\\u0308.* = .*Zo\\xeb"
    with pytest.warns(FacesWarning, match=expected):
        assert import_faces(tmp_path / "people", tmp_path / "table").num_identities == 3
    (tmp_path / "people" / "metadata.csv").unlink()
    with pytest.warns(FacesWarning, match=r"1 names .*: 'Ann A' = 'Ann_A'; if each is one person"):
        assert import_faces(tmp_path / "people", tmp_path / "folder").num_identities == 3


def test_a_split_with_one_person_in_two_parts_is_refused() -> None:
    people = faces(COMPOSED, TAKEN_APART, "Bo", "Cy")
    apart = {"partition": [0] * 4 + [1] * 4 + [0] * 4 + [1] * 4, "min_images": 2}
    with pytest.raises(FedfrError, match=r"names look the same are in several parts .*in client-00, .*in client-01"):
        make_split(people, "partition", **apart)
    with pytest.raises(FedfrError, match="names look the same are in several parts of the split"):
        make_split(people, "general", public_identities=2, clients=2, identities_per_client=1)
    together = make_split(people, "partition", partition=[0] * 8 + [1] * 8)
    assert len(together.clients) == 2


def test_an_audit_finds_similar_names() -> None:
    people = faces(COMPOSED, TAKEN_APART, "Bo", "Cy")
    (found,) = (found for found in audit_images(people) if found.kind == "alike-names")
    assert found.severity == "warning"
    assert found.cases[0].identities == (COMPOSED, TAKEN_APART)
    assert "'Zoe\\u0308'" in found.cases[0].detail
    split = make_split(faces("Ann", "Bo", "Cy", "Di"), "partition", partition=[0] * 8 + [1] * 8)
    same = FaceSet(people.images(range(16)), people.labels, ("Zoë", "Bo", TAKEN_APART, "Cy"))
    apart = replace(split, faces_fingerprint=same.fingerprint())
    kinds = {found.kind: found for found in audit_images(same, apart)}
    assert kinds["alike-names-in-two-parts"].severity == "error"
    assert kinds["alike-names-in-two-parts"].cases[0].parts == ("client-00", "client-01")


def test_a_site_and_the_public_set() -> None:
    own = faces(TAKEN_APART, "Bo", seed=1)
    with pytest.raises(
        FedfrError, match=r"1 identities of this site have the same name as some of the public ones, .*looks the same"
    ):
        check_disjoint(own, faces(COMPOSED, "Cy", seed=2), "the public ones")
    joined = combine([NamedSet("north", "private", faces(COMPOSED, "Bo", seed=4))])
    with pytest.raises(FedfrError, match="1 identities of this site have the same name as some of the public ones"):
        check_disjoint(joined, faces(TAKEN_APART, "Cy", seed=2), "the public ones")
    check_disjoint(own, faces("Zoe", "Cy", seed=2), "the public ones")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_disjoint(own, faces("Zoe", seed=3), "the public ones")
