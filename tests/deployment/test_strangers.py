"""Strangers of a federation: in the agreement, published, downloaded, verified, and nobody whom this site knows."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from tests.deployment.conftest import Federation
from tests.support.check_results import failures, site_results
from tests.support.deployment_folders import Deployment, edit, named
from tests.support.https import Server, serving
from tests.support.tiny_experiment import tiny_faces
from typer.testing import CliRunner

from fedfr.cli.main import app
from fedfr.core.errors import FedfrError
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.site import Site
from fedfr.deployment.site_config import SiteConfig
from fedfr.deployment.site_sets import fetch_sets, site_strangers
from fedfr.faces import FaceSet

pytestmark = pytest.mark.usefixtures("machine")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deployment whose split sets four people apart as strangers."""
    folder = tmp_path_factory.mktemp("deployment")
    Deployment.make(folder, "pretrain.epochs=0", strangers=4)
    return folder


@pytest.fixture
def proxied(deployment: Deployment) -> Iterator[Server]:
    with serving(deployment.coordinator.proxy.folder, deployment.coordinator.tls) as made:
        edit(deployment.site_file, server=made.address)
        yield made


def test_strangers_are_published_and_downloaded_in_several_attempts(deployment: Deployment, proxied: Server) -> None:
    agreed = Site.open(deployment.site_file).agreement.strangers
    split = deployment.coordinator.runs / "first" / "split.json"
    assert len(yaml.safe_load(split.read_text("utf-8"))["strangers"]["identities"]) == 4
    shutil.rmtree(deployment.site / "strangers")
    assert failures(site_results(deployment))["strangers"].endswith(
        "run `fedfr site fetch` to download them from the coordinator"
    )
    proxied.cut = {"pixels.npy": 100_000}
    with pytest.raises(FedfrError, match="fetch again to resume"):
        list(fetch_sets(Site.open(deployment.site_file), deployment.site))
    proxied.asked.clear()
    answer = CliRunner().invoke(app, ["site", "fetch", str(deployment.site)])
    assert answer.stdout.splitlines()[-1] == f"{deployment.site / 'strangers'}: 20 images of 4 identities, as agreed"
    assert dict(proxied.asked)["pixels.npy"] == "bytes=100000-"
    assert FaceSet.load(deployment.site / "strangers").fingerprint() == agreed
    found = site_results(deployment)["strangers"]
    assert (found.remedy, found.found) == (
        *("", "20 images of 4 identities, as in the agreement, none of them at this site"),
    )


def test_a_site_without_a_folder_for_strangers_takes_part(deployment: Deployment, proxied: Server) -> None:
    content = yaml.safe_load(deployment.site_file.read_text("utf-8"))
    del content["strangers"]
    deployment.site_file.write_text(yaml.safe_dump(content), "utf-8")
    assert "not used by this site" in site_results(deployment)["strangers"].found
    answer = CliRunner().invoke(app, ["site", "fetch", str(deployment.site)])
    assert answer.stdout.splitlines()[-1].startswith("strangers: not downloaded, because site.yaml names no folder")
    with pytest.raises(FedfrError, match="names no folder for the strangers; add `strangers: strangers` to it"):
        site_strangers(Site.open(deployment.site_file))


@pytest.mark.parametrize("which", ["name", "image"])
def test_own_people_among_the_strangers_are_noticed(deployment: Deployment, proxied: Server, which: str) -> None:
    strangers = FaceSet.load(deployment.site / "strangers")
    if which == "name":
        own = named(tiny_faces(3, 5, seed=7), ["patient-1", strangers.identities[2], "patient-2"])
    else:
        pixels = tiny_faces(3, 5, seed=7).images(range(15)).copy()
        pixels[4] = strangers.images([6])[0]
        own = FaceSet(pixels, np.repeat(np.arange(3), 5), [f"patient-{number}" for number in range(3)])
    shutil.rmtree(deployment.site / "faces")
    own.save(deployment.site / "faces")
    failed = failures(site_results(deployment))
    assert [*failed] == ["strangers"]
    assert "the strangers" in failed["strangers"]
    with pytest.raises(FedfrError, match="the strangers"):
        site_strangers(Site.open(deployment.site_file))


def test_other_strangers_and_public_faces_among_them_are_refused(deployment: Deployment, prepared: Path) -> None:
    shutil.rmtree(deployment.site / "strangers")
    tiny_faces(4, 5, seed=9).save(deployment.site / "strangers")
    with pytest.raises(FedfrError, match="differ from the agreement; remove them, then fetch again"):
        site_strangers(Site.open(deployment.site_file))
    public = FaceSet.load(deployment.site / "public")
    shutil.rmtree(deployment.site / "strangers")
    trained = named(public.subset(range(10)), ["p", "q"])
    trained.save(deployment.site / "strangers")
    edit(deployment.site / "agreement.yaml", strangers=trained.fingerprint())
    with pytest.raises(FedfrError, match="a public face is among the strangers, whom nobody may train on"):
        site_strangers(Site.open(deployment.site_file))


def test_agreements_without_strangers_keep_their_fingerprint(tmp_path: Path, prepared: Path) -> None:
    content = yaml.safe_load((prepared / "site" / "agreement.yaml").read_text("utf-8"))
    assert content.pop("strangers")
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
    old = Agreement.load(tmp_path / "old.yaml")
    old.save(tmp_path / "again.yaml")
    assert yaml.safe_load((tmp_path / "again.yaml").read_text("utf-8")) == content
    assert old.fingerprint != Agreement.load(prepared / "site" / "agreement.yaml").fingerprint
    with pytest.raises(FedfrError, match="has no strangers; give faces of people whom nobody trains on"):
        site_strangers(
            Site(
                Site.open(prepared / "site" / "site.yaml").config.model_copy(
                    update={"agreement": str(tmp_path / "old.yaml")}
                )
            )
        )


def test_exported_sites_have_the_strangers_of_the_run(federation: Callable[..., Federation]) -> None:
    made = federation("split.settings.stranger_identities=2")
    local = made.local.components
    assert local.split.strangers
    assert len(local.stranger_faces) == len(made.remote.components.stranger_faces)
    for folder in made.sites.values():
        found = site_strangers(Site.open(folder / "site.yaml"))
        assert found.fingerprint() == local.stranger_faces.fingerprint()
    assert f"{len(local.split.strangers)} images of strangers" in made.local.describe()


@pytest.mark.parametrize("name", ["public", "strangers"])
@pytest.mark.parametrize("given", ["../../elsewhere", "0" * 63, "G" * 64, 7])
def test_a_fingerprint_is_no_path(deployment: Deployment, name: str, given: object) -> None:
    """It is part of a URL and of the name of a folder."""
    edit(deployment.site / "agreement.yaml", **{name: given})
    with pytest.raises(FedfrError, match=rf"agreement.yaml: {name} = .*: give (the 64 hexadecimal digits|text)"):
        list(fetch_sets(Site(SiteConfig.load(deployment.site_file)), deployment.site))
