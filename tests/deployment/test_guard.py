"""What a site lets run: the one bundle that holds no code, in the one program that trains."""

from __future__ import annotations

import io
import os
import subprocess
import warnings
import zipfile
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_disk
from flwr.supercore.constant import TASK_TYPE_TO_COMMAND

from fedfr.deployment.bundle import write_bundle
from fedfr.deployment.guard import check_bundle, write_programs
from fedfr.errors import FedfrError


@pytest.fixture
def bundle(tmp_path: Path) -> bytes:
    """As Flower packs what fedfr writes."""
    with warnings.catch_warnings():
        # Flower's own, about a library of its.
        warnings.simplefilter("ignore", DeprecationWarning)
        return build_fab_from_disk(write_bundle(tmp_path / "bundle"))


def changed(bundle: bytes, **files: bytes | None) -> bytes:
    """The bundle with other files: None removes one. Names have _ for a dot."""
    given = {name.replace("__", "/").replace("_", "."): content for name, content in files.items()}
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(bundle)) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            if name not in given:
                new.writestr(name, old.read(name))
        for name, content in given.items():
            if content is not None:
                new.writestr(name, content)
    return made.getvalue()


def test_the_bundle_of_fedfr_is_let_through(bundle: bytes) -> None:
    check_bundle(bundle)


def test_whatever_packed_it(bundle: bytes) -> None:
    """Another zlib gives other bytes and the same files."""
    again = changed(bundle, nothing=None)
    check_bundle(again)


def test_every_other_one_is_refused(bundle: bytes) -> None:
    spoiled = {
        "holds more.py": changed(bundle, more_py=b"import os"),
        "holds fedfr/__init__.py": _with(bundle, "fedfr/__init__.py", b""),
        "the pyproject.toml of this one is another": changed(bundle, pyproject_toml=b"[project]"),
        "has other files": changed(bundle, pyproject_toml=None),
        "is no whole archive": b"no archive",
    }
    for reason, content in spoiled.items():
        with pytest.raises(FedfrError, match=f"this site runs no bundle but fedfr's own: .*{reason}"):
            check_bundle(content)


def _with(bundle: bytes, name: str, content: bytes) -> bytes:
    made = io.BytesIO(bundle)
    with zipfile.ZipFile(made, "a") as archive:
        archive.writestr(name, content)
    return made.getvalue()


def test_one_file_twice_is_refused(bundle: bytes) -> None:
    """Which of two is read depends on who reads."""
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = _with(bundle, "pyproject.toml", b"[project]")
    with pytest.raises(FedfrError, match="this site runs no bundle but fedfr's own"):
        check_bundle(twice)


def test_cut_at_any_byte_it_is_refused(bundle: bytes) -> None:
    for length in range(len(bundle)):
        with pytest.raises(FedfrError, match="this site runs no bundle but fedfr's own"):
            check_bundle(bundle[:length])


def test_a_bomb_is_not_unpacked(bundle: bytes) -> None:
    """A gigabyte of zeros in a megabyte, under the right name: its size is looked at first."""
    bomb = changed(bundle, pyproject_toml=b"\0" * (1 << 30))
    assert len(bomb) < 2 << 20
    with pytest.raises(FedfrError, match="another"):
        check_bundle(bomb)


def test_programs_that_a_site_does_not_need_refuse(tmp_path: Path) -> None:
    place = write_programs(tmp_path / "my programs")
    names = {path.name for path in place.iterdir()}
    assert names == {*TASK_TYPE_TO_COMMAND.values()}
    environment = {**os.environ, "PATH": f"{place}{os.pathsep}{os.environ['PATH']}"}
    for name in ("flwr-serverapp", "flwr-agentapp"):
        done = subprocess.run([name, "--token", "x"], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr == f"fedfr: {name} was asked for and does not run at a site\n"


def test_the_program_that_trains_is_flowers_own_behind_the_guard(tmp_path: Path) -> None:
    place = write_programs(tmp_path / "programs")
    done = subprocess.run([str(place / "flwr-clientapp"), "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "--runtime-api-address" in done.stdout
