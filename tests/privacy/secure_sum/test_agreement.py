"""Agreements, hashes that bind stages, canonical encodings, thresholds, and what is said about collusion."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
import torch
from tests.support.secure_sums import Sums

from fedfr.core.errors import FedfrError
from fedfr.privacy.secure_sum.agreement import SumAgreement, hash_model, smallest_threshold
from fedfr.privacy.secure_sum.canonical import Label, Value, canonical
from fedfr.privacy.secure_sum.collusion import describe_collusion, exact_colluders, withstood_colluders

KEYS = {name: bytes([at]) * 32 for at, name in enumerate(("a", "b", "c"))}
FORTY = {f"s{at}": bytes([at]) * 32 for at in range(40)}


@pytest.mark.parametrize(
    ("run", "sites", "threshold", "reason"),
    [
        ("../x", KEYS, 3, "is not a name"),
        ("run", {"a": bytes(32), "b": b"b" * 32}, 2, "3 to 200 sites, and 2 were given"),
        ("run", KEYS | {"c": b"c"}, 3, "the identity key of c has 1 bytes"),
        ("run", KEYS | {"d": KEYS["a"]}, 3, "two sites have the same identity key"),
        ("run", KEYS | {"A": bytes([9]) * 32}, 3, "too similar"),
        ("run", KEYS, 1, "the threshold of a secure sum is 1; it must be 2 to 3"),
        ("run", KEYS, 4, "the threshold of a secure sum is 4; it must be 2 to 3"),
        ("run", FORTY, 2, "the threshold of a secure sum is 2; it must be 21 to 40, the sites: with fewer than 21, a"),
        ("run", FORTY, 20, "the threshold of a secure sum is 20; it must be 21 to 40"),
    ],
)
def test_agreements_that_are_refused(run: str, sites: dict[str, bytes], threshold: int, reason: str) -> None:
    with pytest.raises(FedfrError, match=reason):
        SumAgreement(run, sites, threshold)


def test_everything_agreed_enters_the_hash_of_a_round(tmp_path: Path) -> None:
    sums = Sums(tmp_path, 3, 3)
    plan, agreement = sums.plan(), sums.agreement
    others = [
        (replace(agreement, run="run2"), plan),
        (replace(agreement, threshold=2), plan),
        (replace(agreement, sites=dict(zip(sums.names, [*agreement.sites.values()][::-1], strict=True))), plan),
        (agreement, replace(plan, round=2)),
        (agreement, sums.plan(model=1.0)),
        (agreement, replace(plan, layout=replace(sums.layout, largest_count=999))),
    ]
    hashes = [each.round_hash(of) for each, of in [(agreement, plan), *others]]
    assert len({*hashes}) == 7
    # Not the order in which the sites are listed.
    assert replace(agreement, sites=dict([*agreement.sites.items()][::-1])).round_hash(plan) == hashes[0]
    with pytest.raises(FedfrError, match="the layout is for 4 sites and the agreement has 3"):
        agreement.round_hash(replace(plan, layout=replace(sums.layout, sites=4)))


def test_the_hash_of_a_model_covers_names_types_shapes_and_values() -> None:
    model = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(1)}
    others = [
        {"a": model["a"].view(3, 2), "b": model["b"]},
        {"a": model["a"] + 1, "b": model["b"]},
        {"a": model["a"].view(torch.int32), "b": model["b"]},
        {"a": model["b"], "b": model["a"]},
        {"a": model["a"]},
    ]
    hashes = {hash_model(each) for each in (model, *others)}
    assert len(hashes) == 6
    transposed = model["a"].t().contiguous().t()
    assert hash_model({"b": model["b"], "a": transposed}) in hashes


def test_different_values_have_different_encodings() -> None:
    values: list[tuple[Value, ...]] = [
        (), (b"",), ("",), ([],), (b"a", b"b"), (b"ab",), (b"a", "b"), ("a", "b"), (["a", "b"],), (["a"], "b"), (1,),
        ("1",), (b"\x01",), ([1],), ([[1]],), (0,), (b"\x00" * 8,),
    ]  # fmt: skip
    found = [canonical(label, *each) for label in (Label.BEGIN, Label.SHARE) for each in values]
    assert len({*found}) == len(found)
    # None is the beginning of another, so a longer list never has the bytes of a shorter one and something behind it.
    whole = [each for each in found if any(other != each and other.startswith(each) for other in found)]
    assert whole == []
    assert len({label.value for label in Label}) == len(Label)
    for wrong in (True, 1.0, None):
        with pytest.raises(TypeError, match="has no canonical encoding"):
            canonical(Label.BEGIN, wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(("sites", "colluding"), [(3, 0), (3, 1), (4, 1), (5, 2), (6, 1), (7, 3)])
def test_the_smallest_threshold_withstands_and_the_next_does_not(sites: int, colluding: int) -> None:
    """By trial: honest sites sign one list each, colluding ones both; two lists need the threshold each."""

    def two_lists(threshold: int) -> bool:
        honest = range(colluding, sites)
        return any(
            len(first) + colluding >= threshold and len(honest) - len(first) + colluding >= threshold
            for size in range(len(honest) + 1)
            for first in combinations(honest, size)
        )

    smallest = smallest_threshold(sites, colluding)
    assert (two_lists(smallest), two_lists(smallest - 1)) == (False, True)


def described(sites: int, threshold: int, *, noised: bool = False) -> str:
    keys = {f"site-{at}": bytes([at]) * 32 for at in range(sites)}
    return " ".join(describe_collusion(SumAgreement("run", keys, threshold), noised=noised))


def test_what_is_said_about_collusion() -> None:
    three = described(3, 3)
    assert "the sum of the updates of at least 3 sites" in three
    assert "no site may drop out" in three
    assert "One site that colludes with the server learns the sum of at least 2 others." in three
    assert "2 sites that collude with the server can learn the update of another site exactly." in three
    assert "colludes with up to 1 site." in three
    alone = "2 sites or more, learn the update of the last one from the next model, also without the server: "
    assert three.endswith(
        f"{alone}exactly with federation.weights=equal, otherwise up to one unknown, its number of images."
    )
    assert described(3, 3, noised=True).endswith(f"{alone}with the noise of that site alone.")
    assert "but not if a site colludes with it" in described(3, 2)
    forty = described(40, 27)
    assert "13 sites may drop out" in forty
    assert "26 sites that collude with the server can learn the update" in forty
    assert "All but one of the sites in a sum, 26 sites or more, learn the update of the last one" in forty
    assert "colludes with up to 13 sites." in forty
    agreement = SumAgreement("run", {f"s{at}": bytes([at]) * 32 for at in range(10)}, 6)
    assert (exact_colluders(agreement), withstood_colluders(agreement)) == (5, 1)


def test_the_table_of_thresholds_in_the_documentation() -> None:
    page = Path(__file__).parents[3] / "docs" / "explanation" / "secure-sums.md"
    rows = re.findall(
        r"^\| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", page.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(rows) > 5
    for sites, colluding, *found in (map(int, row) for row in rows):
        threshold = smallest_threshold(sites, colluding)
        agreement = SumAgreement("run", {f"s{at}": bytes([at]) * 32 for at in range(sites)}, threshold)
        assert found == [threshold, sites - agreement.fewest, exact_colluders(agreement)], sites


@pytest.mark.parametrize("missing", ["cryptography", "Crypto"])
def test_one_line_says_what_to_install(missing: str) -> None:
    """The package can be imported without; the first use names the extra."""
    code = (
        f"import sys; sys.modules[{missing!r}] = None; from fedfr.core.errors import FedfrError; import fedfr.privacy\n"
        "from fedfr.privacy import secure_sum\n"
        "try:\n    secure_sum.Identity\nexcept FedfrError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.stdout == "secure sums need the packages cryptography and pycryptodome; pip install 'fedfr[privacy]'\n"
