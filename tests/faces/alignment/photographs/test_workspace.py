"""Work folder of an import: leftovers without a plan are removed, and the folder is locked."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedfr.core.errors import FedfrError
from fedfr.faces.alignment.photographs.workspace import (
    PLAN,
    remove_abandoned,
    remove_workspace,
    workspace,
    workspace_of,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_work_folder_is_kept_only_with_a_plan(tmp_path: Path) -> None:
    folder = workspace_of(tmp_path / "set")
    (folder / "faces").mkdir(parents=True)
    (folder / "faces.bin").write_bytes(b"of nobody knows which settings")
    with workspace(tmp_path / "set", {"align": "yunet"}) as work:
        assert work == folder
        assert names(folder) == [".lock", PLAN]
        (folder / "faces.bin").write_bytes(b"ours")
        with pytest.raises(FedfrError, match="another process imports into"), workspace(tmp_path / "set", {}):
            pass
    with workspace(tmp_path / "set", {"align": "yunet"}):
        assert (folder / "faces.bin").read_bytes() == b"ours"
    with pytest.raises(FedfrError, match=r"started with align 'yunet', not None"), workspace(tmp_path / "set", {}):
        pass
    assert (folder / "faces.bin").read_bytes() == b"ours"


def test_only_unused_files_are_removed(tmp_path: Path) -> None:
    target, folder = tmp_path / "set", workspace_of(tmp_path / "set")
    remove_abandoned(target)
    assert names(tmp_path) == []
    with workspace(target, {}):
        (folder / PLAN).unlink()
        remove_abandoned(target)  # another has the lock
        assert folder.exists()
    remove_abandoned(target)
    assert not folder.exists()
    with workspace(target, {}):
        pass
    remove_abandoned(target)
    assert names(folder) == [".lock", PLAN]
    remove_workspace(folder)
    assert names(tmp_path) == []
