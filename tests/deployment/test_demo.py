"""Folders of the demonstration, before its processes start; ``slow/test_deploy.py`` runs it."""

from __future__ import annotations

from pathlib import Path

from tests.support.tiny_experiment import BACKBONE, tiny_config

from fedfr.config.schema import load_config
from fedfr.deployment.demo import SETTINGS, Demo
from fedfr.deployment.site import Site


def test_the_server_of_the_demonstration_receives_sums_without_prototypes() -> None:
    """The settings are put over those of the preset, which shares public prototypes."""
    federation = load_config("quickstart", SETTINGS).federation
    assert (federation.secure, federation.prototypes) == ("sum", "keep")


def test_sites_allow_the_code_that_the_configuration_names(tmp_path: Path) -> None:
    method = "tests.experiments.test_folders:MyMethod"
    config = tiny_config(tmp_path, f"method.name={method}", "pretrain.epochs=0")
    with Demo(tmp_path / "demo", config) as demo:
        demo.submit()
        for site in demo.sites.values():
            opened = Site.open(site / "site.yaml")
            assert {*opened.config.allow} == {BACKBONE, method}
            assert {*opened.agreement.code} == {BACKBONE, method}
