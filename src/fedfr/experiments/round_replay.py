"""Repetition of the last round of a finished run, with the messages of every client."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fedfr.core.errors import FedfrError
from fedfr.core.files import make_folder, write_temporary
from fedfr.engines.local import LocalEngine, Tap
from fedfr.experiments.method_run import MethodRun, client_factory
from fedfr.experiments.person_privacy import is_private, person_plan
from fedfr.experiments.secure_sums import secure_engine, uses_secure_sum
from fedfr.federation.client import Client
from fedfr.federation.engine import Engine
from fedfr.federation.identity_key import KEY
from fedfr.federation.messages import Broadcast, Update, decode_reply, encode
from fedfr.federation.method import GenericModel, shared_entries
from fedfr.federation.update_format import restore
from fedfr.federation.withholding_client import withheld_update
from fedfr.privacy.person_dp.person_training import trained_names
from fedfr.training.batchnorm import batchnorm_entries

__all__ = ["Replay", "check_repeated", "replay_last_round"]


@dataclass(frozen=True)
class Replay:
    """A repeated round: its number, the models before and after it, and the clients' updates.

    ``updates`` reads one client's update from its file at a time, also where the server receives only the secure sum of
    them (``summed``).
    """

    round: int
    before: GenericModel
    after: GenericModel
    updates: Mapping[str, Update]
    summed: bool


class _StoredUpdates(Mapping[str, Update]):
    """Updates in files, as the server restores them."""

    def __init__(self, folder: Path, broadcast: Broadcast, kind: str) -> None:
        self._files = {path.name: path for path in sorted(folder.iterdir())} if folder.is_dir() else {}
        self._broadcast = broadcast
        self._kind = kind

    def __getitem__(self, client: str) -> Update:
        reply = decode_reply(self._files[client].read_bytes())
        assert isinstance(reply, Update)
        return restore(reply, self._broadcast, self._kind)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


Prepare = Callable[[Client, Broadcast], None]


def replay_last_round(run: MethodRun, folder: Path, prepare: Prepare = lambda client, broadcast: None) -> Replay:
    """Repeat the last round of ``run`` in the new ``folder``; the run itself is not changed.

    ``prepare`` is called with each client and the broadcast before it trains. Raises :class:`FedfrError` if the run
    cannot be repeated, or if a client fails.
    """
    rounds = run.journal.rounds()
    number = rounds[-1] if rounds else 0
    _check_repeatable(run, number)
    copied = MethodRun(run.components, run.name, folder)
    _copy_before(run, folder, number)
    received, summed = folder / "updates", uses_secure_sum(run)

    def tap(direction: str, client: str, message: bytes) -> None:
        if direction == "up":
            make_folder(received)
            # Before the sum begins, its engine finds the update in the client's folder; the message has no tensors.
            own = encode(withheld_update(folder / "clients" / client)) if summed else message
            write_temporary(received / client, [own])

    def engine(_: MethodRun) -> contextlib.AbstractContextManager[Engine]:
        return _engine(copied, lambda client: prepare(client, broadcast), tap)

    before = run.journal.read(number - 1).generic
    broadcast = Broadcast(number, before.weights, before.prototypes)
    after = copied.run(before, engine=engine)
    record = copied.journal.read(number).record
    if record["refused"]:
        raise FedfrError(f"round {number} of {run.folder} cannot be repeated: {record['refused'][0]}")
    updates = _StoredUpdates(received, broadcast, run.components.config.federation.updates)
    return Replay(number, before, after, updates, summed)


def _check_repeatable(run: MethodRun, number: int) -> None:
    """Raise :class:`FedfrError` if the last round, ``number``, cannot be repeated."""
    config, folder = run.components.config, run.components.folder
    away = [client for client, faces in run.components.split.clients.items() if faces.elsewhere]
    if away:
        raise FedfrError(
            f"{folder} is no simulation: the faces of {', '.join(away[:3])} are on other machines; audit a run on this "
            "machine, with the faces of people who agreed to it"
        )
    if number < run.total_rounds or not number:
        raise FedfrError(
            f"{folder}: {number} of {run.total_rounds} rounds of {run.name} are finished, and a privacy audit repeats "
            f"the last one; continue with `fedfr resume {folder}`, or choose a method with rounds"
        )
    backbone = run.components.new_backbone()
    entries, batchnorm = backbone.state_dict(), batchnorm_entries(backbone)
    if not shared_entries(run.method, entries, batchnorm, config.federation, number):
        raise FedfrError(f"{folder}: the clients of {run.name} send nothing, so nobody sees anything of a round")
    if number - 1 not in run.journal.kept():
        raise FedfrError(
            f"{folder} keeps no model of round {number - 1}, from which a privacy audit repeats the last round; run it "
            "again with federation.keep_rounds of at least 2"
        )


def _copy_before(run: MethodRun, folder: Path, number: int) -> None:
    """Link the journal and the private states before round ``number`` into ``folder``."""
    for earlier in range(number):
        place = f"rounds/{earlier:04d}"
        make_folder(folder / place)
        _link(run.folder / place / "round.json", folder / place / "round.json")
    place = f"rounds/{number - 1:04d}/generic.safetensors"
    _link(run.folder / place, folder / place)
    for client in run.participants:
        source, target = run.folder / "clients" / client, folder / "clients" / client
        make_folder(target)
        earlier_states = [name for name in run.store(client).rounds() if name < number]
        for name in [*(f"private-{state:06d}.safetensors" for state in earlier_states), KEY]:
            if (source / name).exists():
                _link(source / name, target / name)


def _link(source: Path, target: Path) -> None:
    """Link a file, which is only ever replaced as a whole, or copy it where links are not possible."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _engine(
    copied: MethodRun, prepare: Callable[[Client], None], tap: Tap
) -> contextlib.AbstractContextManager[Engine]:
    # Features of the public faces would replace those that the run stores.
    make_client = replace(client_factory(copied), features_folder=None)

    def make(client_id: str) -> Client:
        made = make_client(client_id)
        prepare(made)
        return made

    engine = LocalEngine(make, threads=copied.components.config.runtime.threads, tap=tap)
    return secure_engine(copied, engine, None)


def check_repeated(run: MethodRun, replay: Replay) -> None:
    """Raise :class:`FedfrError` unless the repeated round gave the stored model, equal to the bit.

    With differential privacy, the noise is drawn anew, since its seeds are erased: everything else must be equal, and
    the difference of the trained entries must have the size of the difference of two draws.
    """
    stored = run.journal.read(replay.round).generic
    found = _differing(replay.after, stored)
    if is_private(run.components.config, run.name):
        found = found - _noised(run, replay, stored)
    if found:
        raise FedfrError(
            f"round {replay.round} of {run.components.folder} gives another model when it is repeated ({len(found)} "
            f"tensors, such as {min(found)}); audit a run with the version, on the machine and with the people it was "
            "computed with"
        )


def _differing(one: GenericModel, other: GenericModel) -> set[str]:
    """Return the names of the tensors that are not equal to the bit."""
    pairs = {name: (value, other.weights.get(name)) for name, value in one.weights.items()}
    pairs["prototypes"] = (one.prototypes, other.prototypes)
    return {name for name, (left, right) in pairs.items() if right is None or not torch.equal(left, right)}


def _noised(run: MethodRun, replay: Replay, stored: GenericModel) -> set[str]:
    """Return the entries that are noised, if the two models differ in them as two draws of the noise do."""
    components = run.components
    plan = person_plan(components.config, run.method, len(run.participants))
    names = {*trained_names(components.new_backbone())}
    change = torch.cat([(replay.after.weights[name] - stored.weights[name]).flatten().double() for name in names])
    # Of a sum of the clients' noise, divided by the agreed number of people: twice its variance, for two draws.
    mechanism, clients = plan.mechanism, len(replay.updates)
    expected = mechanism.unit * math.sqrt(2 * clients * mechanism.site_variance) / plan.settings.people
    ratio = float(change.square().mean().sqrt()) / expected
    # Six standard deviations of the estimated one.
    return names if abs(ratio - 1) < 6 / math.sqrt(2 * len(change)) else set()
