"""CPU time, memory and messages of a round with secure sums, with and without drop-outs.

Run: ``python benchmarks/secure_sums.py [--sites N] [--values N] [--drop N …] [--json]``; ten minutes of CPU time, 2 GiB
of memory and 9 GiB of disk space for 40 sites and 52.8 M values.

The server is a :class:`~fedfr.federation.server.Server` in a process of its own, with its durable records, from the
broadcast to the committed model. Each site is a :class:`~fedfr.engines.flower.sum_member.SumMember`: what follows its
training is measured, namely hash of the model, layout, change, vector and stages. Training and network are left out;
messages pass through files. The last ``--drop`` sites drop out before they send their vectors. The new model is
compared with the mean made from the plain sum of integers.

CPU time is that of one thread, as far as possible independent of other processes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from fedfr.config.schema import FederationConfig
from fedfr.engines.flower.sum_member import SumMember
from fedfr.engines.secure_sum import SecureSumEngine
from fedfr.engines.sum_terms import UpdateTerms
from fedfr.federation.journal import Journal
from fedfr.federation.messages import Broadcast, Failure, Update
from fedfr.federation.method import GenericModel
from fedfr.federation.server import Server
from fedfr.methods.fedavg import FedAvg
from fedfr.privacy.secure_sum import Identity, RoundPlan, SumAgreement, hash_model, mean_of, smallest_threshold
from fedfr.privacy.secure_sum.stage_messages import Stage
from harness import place

TRAIN = "train"


def start_of(values: int) -> GenericModel:
    """Return a model with a quarter of its values in one entry, like the last layer of a ResNet-50."""
    generator, layer = torch.Generator().manual_seed(0), 512 * 512 * 9
    sizes = [values // 4]
    while rest := values - sum(sizes):
        sizes.append(min(rest, layer))
    weights = {f"layer-{at:03d}": 0.05 * torch.randn(size, generator=generator) for at, size in enumerate(sizes)}
    return GenericModel(weights, torch.zeros(1, 512))


def terms_of(agreement: SumAgreement) -> UpdateTerms:
    """Return what is summed: all weights, of up to 1 000 images."""
    return UpdateTerms(agreement, lambda broadcast: broadcast.weights, frozenset(), 1000)


class TrainingSites:
    """Engine whose sites train when the pipe tells them to, and keep their updates."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe

    def exchange(
        self, broadcast: Broadcast, clients: Sequence[str], identities: Any, accepted: Any
    ) -> Iterator[Update | Failure]:
        """Yield an update without tensors of every site."""
        self._pipe.send((TRAIN, clients))
        while (client := self._pipe.recv()) is not None:
            yield Update(broadcast.round, client, {}, None, 1)


class PipedEngine(SecureSumEngine):
    """Secure sums with sites at the other end of a pipe, which answers with the paths of messages."""

    def __init__(self, pipe: Any, records: Path, terms: UpdateTerms) -> None:
        super().__init__(TrainingSites(pipe), records, terms)
        self._pipe = pipe

    def _answers(
        self, broadcast: Broadcast, plan: RoundPlan, stage: Stage, requests: Mapping[str, bytes]
    ) -> Iterator[tuple[str, bytes | Failure]]:
        self._pipe.send((stage, requests))
        while (reply := self._pipe.recv()) is not None:
            site, path = reply
            content = path.read_bytes()
            path.unlink()
            yield site, content
            del content

    def _finish(self, ready: Sequence[str], members: Sequence[str]) -> None:
        """Do nothing: sites remove their vectors themselves."""


def resident(what: str) -> int:
    """Return the resident memory of this process in bytes: now (``VmRSS``), or the largest so far (``VmHWM``)."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def serve(agreement: SumAgreement, values: int, folder: Path, pipe: Any) -> None:
    """Run one round; the last message has the hash of the new model, its clients, seconds and bytes."""
    torch.set_num_threads(1)
    start, clients = start_of(values), [*agreement.sites]
    settings = FederationConfig(rounds=1, secure="sum", largest_count=1000)
    method = FedAvg({})
    engine, journal = PipedEngine(pipe, folder / "sums", terms_of(agreement)), Journal(folder / "rounds")
    server = Server(method, engine, journal, settings, clients, lambda number: frozenset(start.weights), seed=0)
    before, started = resident("VmRSS"), time.process_time()
    generic = server.run(start)
    seconds, most = time.process_time() - started, resident("VmHWM") - before
    members = [each["client"] for each in journal.records()[1]["clients"]]
    pipe.send((None, (hash_model(generic.weights), members, seconds, most)))


class Trained:
    """What a site's training results in: one update for all sites, with a number of images of their own."""

    def __init__(self, client: str, weights: Mapping[str, torch.Tensor], count: int) -> None:
        self._update = Update(1, client, weights, None, count)

    def update(self, broadcast: Broadcast) -> Update:
        """Return the update."""
        return self._update


def members_of(
    identities: Mapping[str, Identity], terms: UpdateTerms, start: GenericModel, folder: Path
) -> dict[str, SumMember]:
    """Return the sites, all with the same new weights."""
    weights = {name: value + 0.1 * torch.randn(value.shape) for name, value in start.weights.items()}
    members = {}
    for at, (name, identity) in enumerate(identities.items()):
        client: Any = partial(nullcontext, Trained(name, weights, 50 + at))
        members[name] = SumMember(name, identity, terms, folder / name, client)
    return members


def whole(sites: int, values: int, drop: int, folder: Path) -> dict[str, float]:
    """Return seconds of CPU time and bytes of a round in which the last sites drop out before their vectors."""
    identities = {f"site-{number:03d}": Identity.new() for number in range(sites)}
    threshold = smallest_threshold(sites, sites // 3)
    agreement = SumAgreement("benchmark", {name: each.public for name, each in identities.items()}, threshold)
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    server = context.Process(target=serve, args=(agreement, values, folder / "server", theirs))
    server.start()
    theirs.close()
    torch.set_num_threads(1)
    terms, start = terms_of(agreement), start_of(values)
    broadcast = Broadcast(1, start.weights, start.prototypes)
    members = members_of(identities, terms, start, folder)
    present = [*identities][: sites - drop]
    before, spent, sent, received = (dict.fromkeys(identities, 0.0) for _ in range(4))
    plain = np.zeros(values + 1, np.uint32)
    while True:
        stage, requests = pipe.recv()
        if stage is None:
            break
        for name in requests:
            if stage == TRAIN:
                started = time.process_time()
                members[name].train(broadcast)
                before[name] = spent[name] = time.process_time() - started
                pipe.send(name)
                continue
            if stage in (Stage.MASK, Stage.CONSENT, Stage.UNMASK) and name not in present:
                continue
            if stage is Stage.MASK:
                plain += np.fromfile(folder / name / "vector", np.uint32)
            started = time.process_time()
            pieces = members[name].answer(stage, requests[name])
            spent[name] += time.process_time() - started
            path = folder / name / "reply"
            with path.open("wb") as file:
                file.writelines(pieces)
            del pieces
            received[name] += len(requests[name])
            sent[name] += path.stat().st_size
            pipe.send((name, path))
        pipe.send(None)
    digest, summed, server_seconds, server_bytes = requests
    server.join()
    _, mean = mean_of(terms.layout(broadcast), start.weights, plain, len(present))
    if (digest, summed) != (hash_model(mean), present):
        raise SystemExit("the new model is not the mean of the plain sum")
    model = 4 * values
    most = {name: max(found[each] for each in present) for name, found in (("sent", sent), ("received", received))}
    return {
        "sites that drop out before their vectors": drop,
        "sites in the sum, equal to the plain sum to the bit": len(summed),
        "a site in all: largest, s": max(spent[name] for name in present),
        "a site in all: mean, s": fmean(spent[name] for name in present),
        "of these hash of the model, layout, change and vector, s": fmean(before[name] for name in present),
        "server in all, s": server_seconds,
        "server: largest memory beside the broadcast, models": server_bytes / model,
        "sent by a site, models": most["sent"] / model,
        "sent by a site beside its vector, bytes": most["sent"] - model,
        "received by a site beside the model, bytes": most["received"],
    }


def shown(value: float) -> str:
    """Return a number of the table."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"


def table(results: Mapping[str, Any]) -> str:
    """Return the results of ``--json``, with the command, as a Markdown table."""
    first, *more = (list(found.items()) for found in results["rounds"])
    rows = []
    for at, (what, value) in enumerate(first):
        rows.append(f"| {' | '.join([what, *map(shown, [value, *(found[at][1] for found in more)])])} |")
    rows.insert(1, "|---" * (len(more) + 2) + "|")
    where = f"{results['machine']}, torch {results['torch']}, {results['date']}, commit {results['commit']}"
    return "\n".join([*rows, "", f"{where}: `{results['command']}`"])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=40)
    parser.add_argument("--values", type=int, default=52_800_000)
    parser.add_argument("--drop", type=int, nargs="+", default=[0, 13], help="sites that drop out before their vectors")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rounds: list[dict[str, float]] = []
    results = {"command": "python benchmarks/secure_sums.py", **place(), "rounds": rounds}
    for drop in options.drop:
        with TemporaryDirectory() as folder:
            rounds.append(whole(options.sites, options.values, drop, Path(folder)))
    print(json.dumps(results, indent=1) if options.json else table(results))


if __name__ == "__main__":
    main()
