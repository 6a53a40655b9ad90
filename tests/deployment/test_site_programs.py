"""Programs and bundles that a site runs: only fedfr's own bundle, in the training program."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from flwr.cli.build import build_fab_from_disk
from flwr.supercore.constant import TASK_TYPE_TO_COMMAND

from fedfr.core.errors import FedfrError
from fedfr.deployment import site_programs
from fedfr.deployment.bundle import write_bundle
from fedfr.deployment.processes import environment
from fedfr.deployment.site_programs import check_bundle, write_programs

# Flower's own use of a library.
pytestmark = pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")

REFUSED = "this site runs only fedfr's own bundle: "


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


@pytest.fixture
def bundle(source: Path) -> bytes:
    return build_fab_from_disk(source)


def packed(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def contents(bundle: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def refused(bundle: bytes) -> str:
    with pytest.raises(FedfrError) as found:
        check_bundle(bundle)
    assert str(found.value).startswith(REFUSED)
    assert "\n" not in str(found.value)
    return str(found.value).removeprefix(REFUSED)


def test_flowers_build_of_the_bundle_is_accepted(bundle: bytes) -> None:
    check_bundle(bundle)
    check_bundle(packed(contents(bundle)))
    check_bundle(packed(contents(bundle), zipfile.ZIP_STORED))


@pytest.mark.parametrize("name", ["code.py", "fedfr/deployment/client_app.py", "README.md"])
def test_a_bundle_with_another_file_is_refused(source: Path, name: str) -> None:
    (source / name).parent.mkdir(parents=True, exist_ok=True)
    (source / name).write_text("print('a stranger')\n", "ascii")
    assert refused(build_fab_from_disk(source)) == f"it has {name!r}"


@pytest.mark.parametrize("name", ["../up.py", "/etc/cron.d/x", ".info/../x.py", "two\nlines.py", "pyproject.toml/x"])
def test_files_outside_the_bundle_are_refused(bundle: bytes, name: str) -> None:
    assert refused(packed({**contents(bundle), name: b"code"})).startswith("it has '")


def test_another_configuration_is_refused(source: Path, bundle: bytes) -> None:
    path = source / "pyproject.toml"
    path.write_text(path.read_text("utf-8").replace("fedfr.deployment.client_app", "strange.client"), "utf-8")
    assert refused(build_fab_from_disk(source)) == "pyproject.toml differs"
    files = contents(bundle)
    files["pyproject.toml"] = files["pyproject.toml"].replace(b"fedfr.deployment", b"fedfr.deployed--")
    assert refused(packed(files)) == "pyproject.toml differs"


def test_another_content_list_is_refused(bundle: bytes) -> None:
    """Flower opens every file in this list."""
    files = contents(bundle)
    files[".info/CONTENT"] += b"\n/dev/zero,0,0"
    assert refused(packed(files)) == ".info/CONTENT differs"


def test_missing_and_duplicate_files_are_refused(bundle: bytes) -> None:
    files = contents(bundle)
    for name in files:
        assert "missing or duplicate" in refused(packed({other: files[other] for other in files if other != name}))
    assert "missing or duplicate" in refused(packed({}))
    buffer = io.BytesIO(bundle)
    with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("pyproject.toml", "another")
    assert "missing or duplicate" in refused(buffer.getvalue())


def test_truncated_bundles_are_refused(bundle: bytes) -> None:
    for length in range(len(bundle)):
        refused(bundle[:length])


def test_altered_bundles_are_refused_or_unpack_to_the_same_files(bundle: bytes) -> None:
    """A changed byte may be irrelevant, such as a time; the unpacked files are then unchanged."""
    generator, taken = random.Random(7), 0
    for place in range(len(bundle)):
        altered = bytearray(bundle)
        altered[place] ^= 1 << generator.randrange(8)
        try:
            check_bundle(bytes(altered))
        except FedfrError:
            continue
        taken += 1
        assert contents(bytes(altered)) == contents(bundle)
    assert taken < len(bundle) / 4


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + 18 * b"\0", b"\0" * 100_000])
def test_files_that_are_no_archive_are_refused(content: bytes) -> None:
    refused(content)


@pytest.mark.parametrize("name", ["pyproject.toml", ".info/CONTENT"])
def test_a_decompression_bomb_is_not_unpacked(bundle: bytes, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = packed({**contents(bundle), name: bytes(200_000_000)})
    assert len(bomb) < 400_000
    read: list[str] = []
    whole = zipfile.ZipFile.read

    def watched(archive: zipfile.ZipFile, member: str, pwd: bytes | None = None) -> bytes:
        read.append(member)
        return whole(archive, member, pwd)

    monkeypatch.setattr(zipfile.ZipFile, "read", watched)
    assert refused(bomb) == f"{name} differs"
    assert name not in read


# The programs


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    return write_programs(tmp_path / "a site's folder" / "pro grams")


def test_every_program_of_flower_has_a_wrapper(programs: Path) -> None:
    assert {path.name for path in programs.iterdir()} == {*TASK_TYPE_TO_COMMAND.values()}
    assert site_programs.CLIENT_APP in TASK_TYPE_TO_COMMAND.values()
    assert all(os.access(path, os.X_OK) for path in programs.iterdir())
    assert write_programs(programs) == programs


def test_wrappers_come_first_on_the_path(tmp_path: Path, programs: Path) -> None:
    path = environment(tmp_path, programs=programs)["PATH"].split(os.pathsep)
    assert path[0] == str(programs)


def test_a_program_that_sites_do_not_need_refuses_to_run(programs: Path, tmp_path: Path) -> None:
    command = [str(programs / "flwr-serverapp"), "--token", "a b"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "fedfr: flwr-serverapp must not run at a site\n"


@pytest.mark.parametrize("name", [name for name in TASK_TYPE_TO_COMMAND.values() if name != site_programs.CLIENT_APP])
def test_every_other_program_refuses_to_run(name: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        site_programs.main(tmp_path, [name, "--token", "x"])
    assert ended.value.code == f"fedfr: {name} must not run at a site"


def test_the_training_program_is_flowers(programs: Path) -> None:
    done = subprocess.run([str(programs / "flwr-clientapp"), "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "--runtime-api-address" in done.stdout


def test_the_training_program_checks_the_bundle_first(
    bundle: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flower's program in this process, up to the unpacking of the bundle."""
    place: Any = import_module("flwr.supernode.runtime.run_clientapp")
    unpacked: list[bytes] = []
    arguments: list[list[str]] = []
    sent = bundle

    def install(content: bytes, *, skip_prompt: bool) -> None:
        assert skip_prompt
        unpacked.append(content)

    def program() -> None:
        arguments.append(sys.argv)
        place.install_from_fab(sent, skip_prompt=True)

    monkeypatch.setattr(sys, "argv", ["guard"])
    # The package shows the function under the module's name.
    monkeypatch.setattr(import_module("flwr.supernode.cli.flwr_clientapp"), "flwr_clientapp", program)
    for sent in (bundle, packed({**contents(bundle), "code.py": b"code"})):
        monkeypatch.setattr(place, "install_from_fab", install)
        if sent == bundle:
            site_programs.main(tmp_path, ["flwr-clientapp", "--token", "x"])
        else:
            with pytest.raises(FedfrError, match=REFUSED):
                site_programs.main(tmp_path, ["flwr-clientapp", "--token", "x"])
    assert unpacked == [bundle]
    assert arguments == [["flwr-clientapp", "--token", "x"]] * 2
