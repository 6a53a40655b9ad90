"""Files of a site: its configuration, the terms of its agreement, and the code that it allows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from tests.deployment.conftest import Federation
from tests.support.tiny_experiment import BACKBONE

from fedfr.core.errors import FedfrError
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.privacy_terms import PrivacyTerms
from fedfr.deployment.secure_terms import SecureTerms
from fedfr.deployment.site import Site
from fedfr.deployment.sum_keys import make_sum_key
from fedfr.faces import FaceSet

Make = Callable[..., Federation]


def edit(path: Path, **changes: object) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**content, **changes}), encoding="utf-8")


def test_test_images_by_share_or_number(federation: Make) -> None:
    made = federation()
    folder = made.sites["client-01"]
    faces = FaceSet.load(folder / "faces")
    assert faces.counts().tolist() == [5, 5, 5]
    edit(folder / "site.yaml", faces={"path": "faces"})
    assert Site.open(folder / "site.yaml").own_faces.counts().tolist() == [3, 3, 3]
    edit(folder / "site.yaml", faces={"path": "faces", "test_count": 1})
    own = Site.open(folder / "site.yaml").own_faces
    assert own.counts().tolist() == [4, 4, 4]
    first = faces.indices_of(1)[:4]
    assert np.array_equal(own.images(own.indices_of(1)), faces.images(first))
    # More than a person has: one is left to train on, and nobody else's is taken.
    edit(folder / "site.yaml", faces={"path": "faces", "test_count": 99})
    site = Site.open(folder / "site.yaml")
    assert (site.own_faces.counts().tolist(), len(site.all_faces)) == ([1, 1, 1], 15)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"client": "client-09"}, "client = 'client-09' is not in .*, which names client-01, client-02"),
        ({"faces": {"path": "nowhere"}}, "nowhere is not a folder"),
        ({"agreement": "nowhere.yaml"}, "nowhere.yaml; put the coordinator's file there"),
        ({"colour": "red"}, "unknown setting 'colour'; known here: client, agreement, faces"),
        ({"faces": {"path": "faces", "test_share": 1.5}}, "faces.test_share = 1.5: give a number"),
    ],
)
def test_invalid_site_files_are_refused_with_one_line(
    federation: Make, changes: dict[str, object], reason: str
) -> None:
    made = federation()
    path = made.sites["client-01"] / "site.yaml"
    edit(path, **changes)
    with pytest.raises(FedfrError, match=reason):
        Site.open(path).hello()


def test_every_term_changes_the_agreements_fingerprint(federation: Make) -> None:
    made = federation()
    agreement = Agreement.load(made.sites["client-01"] / "agreement.yaml")
    assert agreement == Agreement.of(made.remote.method_runs()[0])
    # The same terms in another run: its sites begin with private states of their own.
    again = Agreement.of(made.local.method_runs()[0])
    assert again.model_dump(exclude={"run"}) == agreement.model_dump(exclude={"run"})
    assert again.fingerprint != agreement.fingerprint
    assert agreement.public == FaceSet.load(made.sites["client-02"] / "public").fingerprint()
    changes: dict[str, object] = {
        "run": "another",
        "clients": ("client-01",),
        "seed": 7,
        "backbone": "iresnet18",
        "public": "",
        "method": agreement.method.model_copy(update={"name": "fedface"}),
        "local": agreement.local.model_copy(update={"scale": 31.0}),
        "rounds": 9,
        "weights": "private",
        "batchnorm": "local",
        "updates": "int8",
        "prototypes": "keep",
        "report": "losses",
        "strangers": 64 * "0",
        "remedy": "retrain",
        "code": {name: terms.model_copy(update={"sha256": 64 * "0"}) for name, terms in agreement.code.items()},
    }
    keys = {client: make_sum_key(made.sites[client]) for client in agreement.clients}
    changes["secure"] = SecureTerms(threshold=2, largest_count=9, keys=keys)
    changes["privacy"] = PrivacyTerms(dp="sum", people=9, participation=1.0)
    assert list(agreement.code) == [BACKBONE]
    assert changes.keys() == Agreement.model_fields.keys()
    others = {agreement.model_copy(update={name: value}).fingerprint for name, value in changes.items()}
    assert len(others - {agreement.fingerprint}) == len(changes)


def test_a_method_that_pools_all_faces_is_refused(federation: Make) -> None:
    with pytest.raises(FedfrError, match="centralized needs all faces in one place"):
        federation("method.name=centralized")


def test_an_experiment_of_sites_does_not_run_locally(federation: Make) -> None:
    made = federation()
    with pytest.raises(FedfrError, match="the faces of client-01, client-02 are not on this machine; run the experim"):
        made.remote.run()
    assert "2 clients with their faces elsewhere" in made.remote.describe()


def test_a_site_imports_only_allowed_and_identical_code(federation: Make) -> None:
    folder = federation().sites["client-01"]
    agreement = yaml.safe_load((folder / "agreement.yaml").read_text("utf-8"))
    assert Site.open(folder / "site.yaml").agreement.code[BACKBONE].version == "unversioned"
    edit(folder / "site.yaml", allow=[])
    with pytest.raises(FedfrError, match=rf"names {BACKBONE}.*has not allowed; .*allow: \[{BACKBONE}\]") as raised:
        Site.open(folder / "site.yaml")
    assert raised.value.shareable == str(raised.value), "the site may send this reason to the coordinator"
    edit(folder / "site.yaml", allow=[BACKBONE])
    for terms, message in (
        (
            {BACKBONE: {"version": "unversioned", "sha256": 64 * "0"}},
            "this site has the same version with other source files",
        ),
        ({BACKBONE: {"version": "2.0", "sha256": 64 * "0"}}, r"2\.0, .*this site has version unversioned"),
        ({}, "without the hash of its source"),
    ):
        (folder / "agreement.yaml").write_text(yaml.safe_dump({**agreement, "code": terms}), "utf-8")
        with pytest.raises(FedfrError, match=message):
            Site.open(folder / "site.yaml")
