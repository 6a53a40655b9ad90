"""Galleries killed with SIGKILL at every step: no half person, no lost one, no traces of a removed one."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.galleries import SPACE, filled_gallery, photos, read_everything, units
from tests.support.gallery_traces import plain_pieces, sealed_pieces
from tests.support.kill_steps import found_in, killed_at_every_step

from fedfr.recognition.gallery.gallery import Gallery

pytestmark = pytest.mark.slow

NAMES = ("Person A", "Person B", "Person C")


@dataclass(frozen=True)
class Before:
    """A gallery before an operation on ``victim``, with the bytes that may be in no file, and the victim's own."""

    victim: str
    content: tuple[object, ...]
    plain: dict[str, bytes]
    traces: dict[str, bytes]


def filled(folder: Path) -> Before:
    with filled_gallery(folder, NAMES) as gallery:
        victim = gallery.persons()[2].id
        content, plain = read_everything(gallery), plain_pieces(gallery)
    traces = sealed_pieces(folder, victim) | {"site key": (folder / "site.key").read_bytes()}
    return Before(victim, content, plain, traces)


def enrol(gallery: Gallery, victim: str) -> None:
    with gallery.change():
        person = gallery.add_person("Cy New", photos(3, seed=50))
        gallery.set_calibration(SPACE, {"threshold": 0.5})
        gallery.journal.append("enrol", person=gallery.pseudonym(person.id))


def remove(gallery: Gallery, victim: str) -> None:
    gallery.remove(victim)


def rename(gallery: Gallery, victim: str) -> None:
    gallery.rename(victim, "Another Name")


def rebuild(gallery: Gallery, victim: str) -> None:
    """Another space beside the old one, person by person, then a switch."""
    for person in gallery.persons():
        gallery.put_features("sha256:new", dict(zip(person.photos, units(len(person.photos), 64), strict=True)))
    with gallery.change():
        gallery.set_strangers("sha256:new", units(50, 64), "digest")
        gallery.switch("sha256:new")
        gallery.drop_space(SPACE)


def rekey(gallery: Gallery, victim: str) -> None:
    gallery.rekey()


OPERATIONS = {operation.__name__: operation for operation in (enrol, remove, rename, rebuild, rekey)}
KILLS = {"enrol": 50, "remove": 40, "rename": 35, "rebuild": 100, "rekey": 110}
"""Least number of kills of each operation."""


def test_there_are_at_least_200_kills() -> None:
    assert KILLS.keys() == OPERATIONS.keys()
    assert sum(KILLS.values()) >= 200


@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_every_step(name: str, tmp_path: Path) -> None:
    whole, work = tmp_path / "whole", tmp_path / "work"
    before = filled(whole)
    outcomes = [
        outcome_of(work, before, name)
        for _ in killed_at_every_step(
            lambda: copied(whole, work), lambda: operated(work, OPERATIONS[name], before.victim)
        )
    ]
    assert outcomes[0] == "before"
    assert outcomes[-1] == "after"
    assert len(outcomes) > KILLS[name]
    # Once it is done, it stays done; a rebuild is seen only after its switch.
    assert outcomes == sorted(outcomes, key=("before", "after").index)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed; apt install strace")
@pytest.mark.parametrize("name", ["remove", "rekey"])
def test_killed_at_system_calls(name: str, tmp_path: Path) -> None:
    """Inside of SQLite's own writing: between two pages of a commit, a checkpoint, or a rename."""
    whole, work = tmp_path / "whole", tmp_path / "work"
    before = filled(whole)
    program = (
        "import sys, pathlib; from tests.slow.test_gallery_kill import OPERATIONS, operated; "
        "operated(pathlib.Path(sys.argv[1]), OPERATIONS[sys.argv[2]], sys.argv[3])"
    )
    calls = "pwrite64,ftruncate,fdatasync,fsync,rename,unlink"
    strace, outcomes = ("strace", "-f", "-o", "/dev/null"), set()
    for step in (5, *range(40, 180, 20)):
        copied(whole, work)
        inject = f"inject={calls}:signal=KILL:when={step}"
        child = subprocess.run(
            [
                *strace,
                "-e",
                f"trace={calls}",
                "-e",
                inject,
                sys.executable,
                "-c",
                program,
                str(work),
                name,
                before.victim,
            ],
            capture_output=True,
            text=True,
        )
        if "ptrace" in child.stderr:
            pytest.skip(f"strace may not trace here: {child.stderr.strip()[:200]}")
        assert child.returncode in (-signal.SIGKILL, 0), child.stderr
        outcomes.add(outcome_of(work, before, name))
    assert outcomes == {"before", "after"}


def copied(whole: Path, work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(whole, work)


def operated(folder: Path, operation: Callable[[Gallery, str], None], victim: str) -> None:
    with Gallery.open(folder) as gallery:
        operation(gallery, victim)


def outcome_of(folder: Path, before: Before, name: str) -> str:
    """Check a gallery after a kill; return whether the operation has taken place."""
    assert found_in(folder, before.plain) == []
    with Gallery.open(folder) as gallery:
        now = read_everything(gallery)
        persons = {person.id: person.name for person in gallery.persons()}
        spaces, active = gallery.spaces(), gallery.active_space
        count = len(gallery.templates(active).ids)
        with gallery.change():
            gallery.journal.append("identify", "reject")
    assert not (folder / "site.key.new").exists()
    assert count == len(persons)
    if name == "rebuild":
        assert now[: len(NAMES)] == before.content[: len(NAMES)]
        assert list(spaces) in ([SPACE], [SPACE, "sha256:new"], ["sha256:new"])
        return "before" if active == SPACE else "after"
    left = found_in(folder, {what: piece for what, piece in before.traces.items() if not what.startswith("id ")})
    if name == "rekey":
        assert now == before.content
        assert {file for _, file in left} in (set(), {"gallery.db", "site.key"}), "one key or the other, never both"
        return "before" if left else "after"
    if now == before.content:
        return "before"
    if name == "enrol":
        assert len(persons) == len(NAMES) + 1
    elif name == "remove":
        assert before.victim not in persons
        assert len(persons) == len(NAMES) - 1
        assert {file for _, file in found_in(folder, before.traces)} == {"site.key"}
    else:
        assert persons[before.victim] == "Another Name"
    return "after"
