"""Every byte that passes between server and clients, searched for what must never pass."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from tests.tiny import tiny_config

from fedfr.experiment import Experiment
from fedfr.federation.messages import Update, decode_update, encode
from fedfr.training.features import extract_features
from fedfr.training.pool import FacePool

WINDOW = 24


def windows(data: bytes, count: int = 4) -> list[bytes]:
    """A few stretches of ``data`` that would all be in a message holding it."""
    starts = np.linspace(0, max(0, len(data) - WINDOW), count).astype(int)
    return [data[start : start + WINDOW] for start in starts if len(set(data[start : start + WINDOW])) > 3]


def as_sent(array: np.ndarray) -> list[bytes]:
    """An array's bytes as it is and in the precisions a leak might be sent in."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    forms = [tensor]
    if tensor.dtype.is_floating_point:
        forms += [tensor.half(), tensor.bfloat16(), tensor.double(), torch.nn.functional.normalize(tensor, dim=-1)]
    return [form.contiguous().view(-1).view(torch.uint8).numpy().tobytes() for form in forms]


def found(messages: list[bytes], private: Mapping[str, list[bytes]]) -> list[str]:
    """Names of the private arrays of which any stretch stands in any message, at any offset.

    A table says for every three bytes whether a stretch begins so; only where one does is the whole compared.
    """
    beginning: dict[bytes, list[tuple[bytes, str]]] = {}
    for name, forms in private.items():
        for part in (part for form in forms for part in windows(form)):
            beginning.setdefault(part[:3], []).append((part, name))
    table = np.zeros(1 << 24, bool)
    table[[int.from_bytes(start, "little") for start in beginning]] = True
    names: dict[str, None] = {}
    for message in messages:
        data = np.frombuffer(message, np.uint8).astype(np.uint32)
        starts = data[:-2] | data[1:-1] << 8 | data[2:] << 16
        for place in np.flatnonzero(table[starts]).tolist():
            for part, name in beginning[message[place : place + 3]]:
                if message.startswith(part, place):
                    names[name] = None
    return list(names)


@pytest.fixture(scope="module")
def tapped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Experiment, list[bytes], dict[str, list[bytes]]]:
    folder = tmp_path_factory.mktemp("privacy")
    experiment = Experiment.create(tiny_config(folder), folder / "run")
    messages: list[bytes] = []
    kept: dict[str, list[bytes]] = {}

    def tap(direction: str, client: str, data: bytes) -> None:
        messages.append(data)
        if direction == "up":  # the private state of this round is on disk by now
            state = experiment.trials()[0].store(client).latest()
            assert state is not None
            arrays = {"prototypes": state.prototypes, **{f"dfc {name}": value for name, value in state.dfc.items()}}
            for name, value in arrays.items():
                for row, part in enumerate(value.reshape(-1, value.shape[-1])[:8]):
                    kept[f"{client} round {state.round} {name} row {row}"] = as_sent(part.numpy())

    experiment.run(tap=tap)
    faces, split = experiment.parts.faces, experiment.parts.split
    module = experiment.parts.new_backbone()
    start = experiment.parts.starting_model()
    module.load_state_dict(dict(start.weights))
    for client, own in split.clients.items():
        indices = np.asarray([*own.train, *own.test])
        pool = FacePool([(faces, indices, 0)])
        features = extract_features(module, pool, experiment.parts.compute).numpy()
        for row, index in enumerate(indices):
            pixels = faces.images([int(index)])[0]
            kept[f"{client} image {index}"] = [*as_sent(pixels), *as_sent((pixels / 127.5 - 1).astype(np.float32))]
            kept[f"{client} feature {index}"] = as_sent(features[row])
        labels = faces.labels[indices]
        kept[f"{client} labels"] = [labels.tobytes(), labels.astype(np.int32).tobytes()]
        for label in np.unique(labels):
            kept[f"name {label}"] = [
                faces.identities[label].encode() * 3,
                faces.identities[label].encode().ljust(24, b"x"),
            ]
    return experiment, messages, kept


def test_nothing_private_passes(tapped: tuple[Experiment, list[bytes], dict[str, list[bytes]]]) -> None:
    experiment, messages, private = tapped
    assert len(messages) == 2 * 2 * 2, "two rounds, two clients, down and up"
    assert len(private) > 100
    assert found(messages, private) == []
    names = [experiment.parts.faces.identities[int(label)].encode() for label in range(14)]
    assert not [name for name in names if any(name in message for message in messages)]


def test_nothing_private_lies_where_processes_share(
    tapped: tuple[Experiment, list[bytes], dict[str, list[bytes]]],
) -> None:
    """The public faces' features are in a folder of the run that every client's process reads."""
    experiment, _, private = tapped
    files = [path.read_bytes() for path in experiment.parts.features_folder.rglob("*.npy")]
    assert len(files) == 1
    assert found(files, private) == []


def test_the_previous_local_backbone_does_not_come_back(
    tapped: tuple[Experiment, list[bytes], dict[str, list[bytes]]],
) -> None:
    """A broadcast holds averages only: no client's own weights of the round before."""
    _, messages, _ = tapped
    ups = [decode_update(data) for data in messages if b'\\"kind\\": \\"Update\\"' in data[:100_000]]
    downs = [data for data in messages if b'\\"kind\\": \\"Broadcast\\"' in data[:100_000]]
    assert len(ups) == len(downs) == 4
    convolutions = {
        f"{update.client} {update.round} {name}": as_sent(value.numpy())
        for update in ups
        for name, value in update.weights.items()
        if value.ndim == 4
    }
    assert found(downs, convolutions) == []


def test_a_planted_leak_is_found(tapped: tuple[Experiment, list[bytes], dict[str, list[bytes]]]) -> None:
    experiment, messages, private = tapped
    up = next(decode_update(data) for data in messages if b'\\"kind\\": \\"Update\\"' in data[:100_000])
    state = experiment.trials()[0].store(up.client).latest(before=2)
    assert state is not None
    name, hiding = next((name, value.clone()) for name, value in up.weights.items() if value.numel() > 5000)
    hiding.view(-1)[1000 : 1000 + state.prototypes.shape[1]] = state.prototypes[1]
    leaking = encode(Update(up.round, up.client, {**up.weights, name: hiding}, up.prototypes, up.count, up.metrics))
    assert any("prototypes row 1" in leak for leak in found([leaking], private))
