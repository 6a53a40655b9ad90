"""CPU time and memory of a secure sum: a site's stages and the coordinator's work, by number of sites and of values.

Run: ``python benchmarks/secure_sums.py [--sites N] [--values N] [--json]``; half a minute and 1 GiB for 40 sites and
52.8 M values. One site masks the whole vector, the other sites take part in the stages before.

``--whole [--drop N]`` runs a whole round instead, two minutes of CPU time and 0.5 GiB of disk space for 40 sites: all
sites send their vectors, the last ``N`` drop out before theirs, the server works in a process of its own with its
durable record, and its sum is compared with the plain sum of integers. Vectors pass through files, one at a time.

CPU time is that of one thread, as far as possible independent of other processes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from fedfr.privacy.secure_sum import (
    Coordinator,
    CoordinatorRecord,
    Entry,
    Identity,
    Layout,
    RoundPlan,
    Site,
    SumAgreement,
    encode_update,
    run_sum,
    smallest_threshold,
)
from fedfr.privacy.secure_sum.keys import new_secret
from fedfr.privacy.secure_sum.masks import add_streams
from fedfr.privacy.secure_sum.shares import combine, split
from fedfr.privacy.secure_sum.stage_messages import Stage
from harness import place


def timed(work: Callable[[], Any], repetitions: int = 1) -> tuple[float, Any]:
    """Return the smallest CPU time of ``work``, and its last result."""
    times, result = [], None
    for _ in range(repetitions):
        started = time.process_time()
        result = work()
        times.append(time.process_time() - started)
    return min(times), result


def agreed(sites: int, values: int) -> tuple[dict[str, Identity], SumAgreement, Layout]:
    """Return the sites' keys, an agreement that withstands a third of them, and the layout of a vector."""
    identities = {f"site-{number:03d}": Identity.new() for number in range(sites)}
    threshold = smallest_threshold(sites, sites // 3)
    agreement = SumAgreement("benchmark", {name: each.public for name, each in identities.items()}, threshold)
    layout = Layout((Entry("weights", (values,), 0.5),), sites, 1000)
    return identities, agreement, layout


def measured(sites: int, values: int, folder: Path) -> dict[str, float]:
    """Return seconds of CPU time by what was done."""
    identities, agreement, layout = agreed(sites, values)
    plan = RoundPlan(1, bytes(32), layout)
    first = min(identities)
    coordinator, seconds = Coordinator(agreement, plan), {"keys, shares and boxes": 0.0}
    for stage in ("begin", "share"):
        for name, request in coordinator.requests().items():
            site = Site(agreement, name, identities[name], folder / name)
            spent, reply = timed(
                partial(site.begin, request, plan) if stage == "begin" else partial(site.share, request)
            )
            seconds["keys, shares and boxes"] += spent / sites
            coordinator.receive(name, reply)
        coordinator.advance()
    change = {"weights": 0.1 * torch.randn(values)}
    seconds["update to integers"], vector = timed(lambda: encode_update(layout, change, 50))
    site, request = Site(agreement, first, identities[first], folder / first), coordinator.requests()[first]
    seconds[f"{sites} masks, hashes and signature"], pieces = timed(lambda: site.mask(request, vector))
    reply = b"".join(pieces)
    seconds["coordinator: one vector"], _ = timed(lambda: coordinator.receive(first, reply))
    streams = [(new_secret(), True) for _ in range(sites)]
    seconds["one mask alone"], _ = timed(lambda: add_streams(vector, streams[:1]), 3)
    seconds[f"one of {sites} masks"] = timed(lambda: add_streams(vector, streams))[0] / sites
    seconds["vector read and written"], _ = timed(lambda: np.add(vector, 1, out=vector), 3)
    seconds["os.urandom of a tenth of the vector, times ten"] = 10 * timed(lambda: os.urandom(values * 4 // 10))[0]
    shares = split(new_secret(), agreement.threshold, sites)
    chosen = {place + 1: shares[place] for place in range(agreement.threshold)}
    seconds["coordinator: recovery of the secrets of all sites"] = sites * timed(lambda: combine(chosen))[0]
    return seconds


def peak() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def serve(agreement: SumAgreement, plan: RoundPlan, folder: Path, pipe: Any) -> None:
    """Coordinate a round; requests go through ``pipe``, and from it come the files with the replies."""
    before = peak()

    def exchange(stage: Stage, requests: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
        pipe.send((stage, requests))
        while (reply := pipe.recv()) is not None:
            site, path = reply
            content = path.read_bytes()
            path.unlink()
            yield site, content
            del content

    seconds, (total, members) = timed(lambda: run_sum(CoordinatorRecord(folder), agreement, plan, exchange))
    pipe.send((None, (hashlib.sha256(total.data).hexdigest(), len(members), seconds, peak() - before)))


def whole(sites: int, values: int, drop: int, folder: Path) -> dict[str, float]:
    """Return seconds of CPU time and bytes of a whole round in which the last sites drop out before their vectors."""
    identities, agreement, layout = agreed(sites, values)
    plan = RoundPlan(1, bytes(32), layout)
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    server = context.Process(target=serve, args=(agreement, plan, folder / "server", theirs))
    (folder / "server").mkdir()
    server.start()
    present = [*identities][: sites - drop]
    spent, sent, received = (dict.fromkeys(identities, 0.0) for _ in range(3))
    change, plain = {"weights": 0.1 * torch.randn(values)}, np.zeros(values + 1, np.uint32)
    while True:
        stage, requests = pipe.recv()
        if stage is None:
            break
        for name, request in requests.items():
            if stage in (Stage.MASK, Stage.CONSENT, Stage.UNMASK) and name not in present:
                continue
            site, started = Site(agreement, name, identities[name], folder / name), time.process_time()
            if stage is Stage.BEGIN:
                pieces: list[Any] = [site.begin(request, plan)]
            elif stage is Stage.MASK:
                vector = encode_update(layout, change, 50 + present.index(name))
                spent[name] += time.process_time() - started
                plain += vector
                started = time.process_time()
                pieces = site.mask(request, vector)
            else:
                pieces = [
                    {Stage.SHARE: site.share, Stage.CONSENT: site.consent, Stage.UNMASK: site.unmask}[stage](request)
                ]
            spent[name] += time.process_time() - started
            path = folder / "reply"
            with path.open("wb") as file:
                file.writelines(pieces)
            received[name] += len(request)
            sent[name] += path.stat().st_size
            pieces = []
            path.rename(folder / name / "reply")
            pipe.send((name, folder / name / "reply"))
        pipe.send(None)
    digest, members, server_seconds, server_bytes = requests
    server.join()
    if (digest, members) != (hashlib.sha256(plain.data).hexdigest(), len(present)):
        raise SystemExit("the secure sum is not the plain sum")
    model = 4 * values
    most = {name: max(found[each] for each in present) for name, found in (("sent", sent), ("received", received))}
    return {
        "sites in the sum, equal to the plain sum to the bit": members,
        "a site in all: largest, s": max(spent[name] for name in present),
        "a site in all: mean, s": sum(spent[name] for name in present) / len(present),
        "server in all, s": server_seconds,
        "server: largest memory beyond that of its start, models": server_bytes / model,
        "sent by a site, models": most["sent"] / model,
        "sent by a site beside its vector, bytes": most["sent"] - model,
        "received by a site beside the model, bytes": most["received"],
    }


def table(results: Mapping[str, Any]) -> str:
    """Return the results of ``--whole --json``, with the command, as a Markdown table."""
    rows = ["| a whole round | |", "|---|---|"]
    for what, value in results["found"].items():
        rows.append(
            f"| {what} | {value:,.0f} |" if value >= 100 or value == int(value) else f"| {what} | {value:.2f} |"
        )
    where = f"{results['machine']}, torch {results['torch']}, {results['date']}, commit {results['commit']}"
    return "\n".join([*rows, "", f"{where}: `{results['command']}`"])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=40)
    parser.add_argument("--values", type=int, default=52_800_000)
    parser.add_argument("--whole", action="store_true", help="run a whole round")
    parser.add_argument("--drop", type=int, default=0, help="sites that drop out before their vectors")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        if options.whole:
            found = whole(options.sites, options.values, options.drop, Path(folder))
        else:
            found = measured(options.sites, options.values, Path(folder))
    if options.json:
        print(json.dumps({**place(), "found": found}))
        return
    for what, value in found.items():
        print(f"{what:58} {value:12.3f}" + ("" if options.whole else " s"))


if __name__ == "__main__":
    main()
