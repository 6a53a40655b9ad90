"""Flower app that sends a message to the first node and waits for its echo, in several layouts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from fedfr.engines.flower.wire import broadcast_records
from fedfr.federation.messages import Broadcast
from fedfr.models import build_backbone

__all__ = ["client", "server"]

server, client = ServerApp(), ClientApp()
PAUSE = 0.1


@client.train()
def echo(message: Message, context: Context) -> Message:
    """Return the received message."""
    return Message(message.content, reply_to=message)


@server.main()
def main(grid: Grid, context: Context) -> None:
    """Write the seconds of every round trip, by layout, to the file named in the run's configuration."""
    backbone = build_backbone(str(context.run_config["backbone"]), 0)
    layouts = {"empty": lambda entries: RecordDict(), "one array": _one_array, "an array for each tensor": _arrays}
    repetitions, seconds = int(context.run_config["repetitions"]), dict[str, list[float]]()
    while not (nodes := list(grid.get_node_ids())):
        time.sleep(PAUSE)
    for number in range(repetitions):
        # Different numbers every time, because repeated objects are not sent again.
        entries = {
            name: value + number if value.is_floating_point() else value
            for name, value in backbone.state_dict().items()
        }
        for name, layout in layouts.items():
            seconds.setdefault(name, []).append(_trip(grid, nodes[0], layout, entries))
    Path(str(context.run_config["out"])).write_text(json.dumps(seconds), encoding="utf-8")


def _trip(
    grid: Grid,
    node: int,
    layout: Callable[[Mapping[str, torch.Tensor]], RecordDict],
    entries: Mapping[str, torch.Tensor],
) -> float:
    started = time.perf_counter()
    sent = list(grid.push_messages([Message(layout(entries), node, "train")]))
    while not list(grid.pull_messages(sent)):
        time.sleep(PAUSE)
    return time.perf_counter() - started


def _one_array(entries: Mapping[str, torch.Tensor]) -> RecordDict:
    return broadcast_records(Broadcast(1, entries, torch.zeros(1, 1)), "", {})[None]


def _arrays(entries: Mapping[str, torch.Tensor]) -> RecordDict:
    return RecordDict({"weights": ArrayRecord({name: Array(value.numpy()) for name, value in entries.items()})})
