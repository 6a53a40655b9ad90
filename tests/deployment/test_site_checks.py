"""Checks of ``fedfr site check`` on the site's own machine: configuration, agreement, faces, disk, memory, port."""

from __future__ import annotations

import os
import shutil
import socket
from contextlib import nullcontext

import pytest
import torch
from tests.deployment.conftest import Machine
from tests.support.check_results import failures, site_results
from tests.support.deployment_folders import OTHER, SITE, Deployment, edit, named
from tests.support.https import Server
from tests.support.tiny_experiment import tiny_faces

from fedfr.core.errors import FedfrError
from fedfr.core.locks import locked
from fedfr.deployment import checks
from fedfr.deployment.checks import CheckResult, check_site
from fedfr.deployment.site import Site
from fedfr.faces import FaceSet
from fedfr.federation.private_state import PrivateState
from fedfr.federation.private_store import PrivateStore

pytestmark = pytest.mark.usefixtures("machine")


ALL_CHECKS = [
    "configuration",
    "key",
    "certificate authority",
    "server",
    "registered",
    "folder",
    "port",
    "agreement",
    "code",
    "device",
    "faces",
    "public faces",
    "no overlap",
    "disk",
    "memory",
    "private states",
]


def test_text_of_a_result() -> None:
    assert str(CheckResult("disk", "9.0 GB free")) == "ok   disk: 9.0 GB free"
    assert str(CheckResult("disk", "0.0 GB free", "free space")) == "FAIL disk: 0.0 GB free; free space"


def test_an_error_without_a_remedy() -> None:
    def check() -> str:
        raise FedfrError("it is broken")

    assert checks._run_check("disk", check) == CheckResult("disk", "it is broken", "correct it")


def test_all_checks_of_a_complete_site_pass(deployment: Deployment, server: Server) -> None:
    before = {path: path.read_bytes() for path in deployment.site.rglob("*") if path.is_file()}
    lines = site_results(deployment)
    assert failures(lines) == {}
    assert [*lines] == ALL_CHECKS
    assert lines["configuration"].found == f"{deployment.site_file}, client {SITE}"
    assert lines["key"].found.endswith(f"in {deployment.site / 'site.key'}")
    assert lines["certificate authority"].found == "valid for 3650 days"
    assert lines["server"].found == f"{server.address} answers; its certificate is valid and the clocks agree"
    assert lines["registered"].found == "the site's key is registered"
    assert lines["agreement"].found == "fedfr, 2 rounds, 2 sites"
    assert lines["faces"].found == "9 images of 3 identities for training"
    assert lines["public faces"].found == "55 images of 11 identities, as in the agreement"
    assert lines["no overlap"].found == "private and public faces share no name and no image"
    assert lines["disk"].found.startswith("1000.0 GB free, 0.0")
    assert lines["port"].found.endswith("is free")
    assert {path: path.read_bytes() for path in deployment.site.rglob("*") if path.is_file()} == before
    assert server.asked == []


def test_without_a_configuration_no_other_check_runs(deployment: Deployment, server: Server) -> None:
    deployment.site_file.unlink()
    (line,) = check_site(deployment.site_file)
    assert line.what == "configuration"
    assert line.found == f"{deployment.site} holds no site.yaml"
    assert line.remedy == f"create a site with `fedfr site init {deployment.site}`"


def test_a_missing_agreement(deployment: Deployment, server: Server) -> None:
    (deployment.site / "agreement.yaml").unlink()
    lines = site_results(deployment)
    assert [*lines] == ALL_CHECKS[: ALL_CHECKS.index("agreement") + 1]
    assert lines["agreement"].remedy == "put the coordinator's file there"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"clients": [OTHER]}, f"client = '{SITE}' is not in"),
        ({"backbone": "iresnet51"}, "unknown backbone 'iresnet51'"),
        ({"method": {"name": "fedrf"}}, "unknown method 'fedrf'"),
        ({"rounds": 0}, "rounds = 0: give a whole number"),
    ],
)
def test_agreements_that_cannot_be_used(
    deployment: Deployment, server: Server, changes: dict[str, object], expected: str
) -> None:
    edit(deployment.site / "agreement.yaml", **changes)
    found = failures(site_results(deployment))
    assert [*found] == ["agreement"]
    assert expected in found["agreement"]


def test_missing_faces(deployment: Deployment, server: Server) -> None:
    shutil.rmtree(deployment.site / "faces")
    found = failures(site_results(deployment))
    assert [*found] == ["faces", "no overlap"]
    assert found["faces"].endswith("is not a folder; give a folder written by `fedfr faces import`")


def test_missing_public_faces(deployment: Deployment, server: Server) -> None:
    shutil.rmtree(deployment.site / "public")
    found = failures(site_results(deployment))
    assert [*found] == ["public faces", "no overlap"]
    assert found["public faces"].startswith("the public faces are missing; run `fedfr site fetch`")
    edit(deployment.site_file, public=None)
    found = failures(site_results(deployment))
    assert found["public faces"].startswith("the public faces are missing; run `fedfr site fetch`")
    assert found["no overlap"] == "this check needs the public faces; fetch them first"


def test_other_public_faces(deployment: Deployment, server: Server) -> None:
    shutil.rmtree(deployment.site / "public")
    named(tiny_faces(4, 4, seed=3), ["a", "b", "c", "d"]).save(deployment.site / "public")
    assert failures(site_results(deployment)) == {
        "public faces": "the public faces differ from the agreement; fetch them again",
    }


def test_a_method_without_public_faces(deployment: Deployment, server: Server) -> None:
    edit(deployment.site / "agreement.yaml", public="", method={"name": "fedavg"})
    shutil.rmtree(deployment.site / "public")
    lines = site_results(deployment)
    assert failures(lines) == {}
    assert lines["public faces"].found == "not needed by this method"
    assert lines["no overlap"].found == "there are no public faces"


def _replace_own(deployment: Deployment, faces: FaceSet) -> None:
    shutil.rmtree(deployment.site / "faces")
    faces.save(deployment.site / "faces")


def test_an_identity_in_private_and_public_faces_by_name(deployment: Deployment, server: Server) -> None:
    public = FaceSet.load(deployment.site / "public").identities[2]
    _replace_own(deployment, named(tiny_faces(3, 5, seed=7), ["patient-0", public, "patient-2"]))
    found = failures(site_results(deployment))
    assert found == {
        "no overlap": f"1 identities of this site have the same name as some of the public ones, for example "
        f"{public}; remove them here, or rename them if they are other people"
    }


@pytest.mark.parametrize("where", [0, -1])
def test_an_identity_in_private_and_public_faces_by_image(deployment: Deployment, server: Server, where: int) -> None:
    """Under another name, among the training images or the test images."""
    own, public = FaceSet.load(deployment.site / "faces"), FaceSet.load(deployment.site / "public")
    pixels = own.images(range(len(own)))
    pixels[where] = public.images([0])[0]
    _replace_own(deployment, FaceSet(pixels, own.labels, own.identities))
    assert failures(site_results(deployment)) == {
        "no overlap": "an image of this site is among the public ones; remove that identity here"
    }


def test_a_full_disk_and_a_read_only_folder(deployment: Deployment, server: Server, machine: Machine) -> None:
    machine.free = 1000
    found = failures(site_results(deployment))
    assert [*found] == ["disk"]
    assert found["disk"].startswith(f"0.0 GB free at {deployment.site}, 0.0")
    assert found["disk"].endswith(" GB are needed; free space")
    machine.writable = False
    expected = f"{deployment.site} is not writable; grant this user write access"
    assert failures(site_results(deployment)) == {"folder": expected, "disk": expected}


def test_too_little_memory(deployment: Deployment, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MEMORY_PER_MODEL_BYTE", 10**9)
    found = failures(site_results(deployment))
    assert [*found] == ["memory"]
    assert found["memory"].endswith(" GB are needed; add memory")


def test_a_port_in_use(deployment: Deployment, server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        edit(deployment.site_file, port=port)
        for running in (False, True):
            with locked(deployment.site) if running else nullcontext():
                found = failures(site_results(deployment))
            assert [*found] == ["port"]
            assert found["port"].startswith(f"{port} is used by process {os.getpid()} (")
            assert found["port"].endswith("); stop that process, or choose another port in the configuration")


def test_device_and_private_states_are_tried(deployment: Deployment, server: Server) -> None:
    """A missing device and a damaged private state."""
    edit(deployment.site_file, runtime={"device": "cuda:77"})
    assert failures(site_results(deployment)) == {
        "device": "runtime.device = 'cuda:77', but this PyTorch is built without CUDA; "
        "install one built with it, or use cpu"
    }
    edit(deployment.site_file, runtime={})
    store = PrivateStore(Site.open(deployment.site_file).private, SITE)
    store.save(PrivateState(1, {"w": torch.ones(2)}, torch.ones(1, 4)))
    assert site_results(deployment)["private states"].found == "of rounds 1"
    (file,) = store.folder.glob("private-*.safetensors")
    file.write_bytes(file.read_bytes()[:-3])
    (found,) = failures(site_results(deployment)).values()
    assert found.startswith(f"private state {file} cannot be read (")
