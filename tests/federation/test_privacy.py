"""Search of all exchanged bytes for private values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.private_values import Secrets, raw
from tests.support.tiny_experiment import tiny_config

from fedfr.core.errors import FedfrError
from fedfr.engines.local import LocalEngine
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.method_run import local_engine
from fedfr.federation.client import Client
from fedfr.federation.messages import Failure, Update, decode_broadcast, decode_reply, encode
from fedfr.federation.private_state import PrivateState
from fedfr.training.features import extract_features
from fedfr.training.training_set import TrainingSet

CLIENTS = ("client-01", "client-02")


@dataclass
class Tapped:
    """A run of two rounds with two clients, and all of its messages."""

    experiment: Experiment
    broadcasts: list[bytes] = field(default_factory=list)
    replies: list[bytes] = field(default_factory=list)
    states: dict[tuple[str, int], PrivateState] = field(default_factory=dict)

    def tap(self, direction: str, client: str, data: bytes) -> None:
        """Keep every message; with an update, the private state of its round is on disk."""
        (self.broadcasts if direction == "down" else self.replies).append(data)
        if direction == "up":
            state = self.experiment.method_runs()[0].store(client).latest()
            assert state is not None
            self.states[client, state.round] = state

    def features(self, model: str, client: str, *, mirrored: bool = False) -> torch.Tensor:
        """Features of the client's faces under ``generic 0``, ``generic 1`` … or its ``local 1``, ``personal 1`` …"""
        components = self.experiment.components
        kind, number = model.split()
        module = components.new_backbone()
        if kind == "generic":
            given = {message.round: message.weights for message in map(decode_broadcast, self.broadcasts)}
            module.load_state_dict(dict(given[int(number) + 1]))
        else:
            module.load_state_dict(dict(self.states[client, int(number)].backbone))
        features = extract_features(
            module, TrainingSet([(components.faces, self.faces_of(client), 0)]), components.compute, mirrored=mirrored
        )
        if kind == "personal":
            dfc = self.experiment.method_runs()[0].method.personal_modules(self.states[client, int(number)])
            assert dfc is not None
            features = dfc(features).detach()
        return features

    def faces_of(self, client: str) -> np.ndarray:
        """The client's faces, training ones first."""
        own = self.experiment.components.split.clients[client]
        return np.asarray([*own.train, *own.test])

    def labels(self, client: str, which: str, numbering: str) -> np.ndarray:
        """Labels of the client's ``train``, ``test`` or ``all`` faces, as in the whole set or at the client."""
        faces, own = self.experiment.components.faces, self.experiment.components.split.clients[client]
        indices = {"train": own.train, "test": own.test, "all": (*own.train, *own.test)}[which]
        return faces.labels[np.asarray(indices)] if numbering == "global" else faces.subset(indices).labels

    def pixels(self, index: int) -> torch.Tensor:
        """One face, (112, 112, 3)."""
        return torch.from_numpy(self.experiment.components.faces.images([index])[0])


MODELS = ("generic 0", "generic 1", "local 1", "local 2", "personal 1", "personal 2")
# The first, some and the last row of everything private that is trained.
PRIVATE_ROWS = {
    "prototypes": (0, 2),
    "transform.weight": (0, 20, 511),
    "transform.bias": (0,),
    "branches.weight": (0, 2),
    "branches.bias": (0,),
}


def scaled(image: torch.Tensor) -> dict[str, torch.Tensor]:
    """An image as stored and in the usual scales, with both roundings of the last bit."""
    values = image.float()
    return {
        "as uint8": image,
        "to ±1": (values - 127.5) / 127.5,
        "to ±1 by 255": (values / 255 - 0.5) / 0.5,
        "to 1": values / 255,
    }


@pytest.fixture(scope="module")
def tapped(tmp_path_factory: pytest.TempPathFactory) -> Tapped:
    folder = tmp_path_factory.mktemp("privacy")
    made = Tapped(Experiment.create(tiny_config(folder), folder / "run"))
    made.experiment.run(engine=partial(local_engine, tap=made.tap))
    assert set(made.states) == {(client, number) for client in CLIENTS for number in (1, 2)}
    return made


@pytest.fixture(scope="module")
def private(tapped: Tapped) -> Secrets:
    """All values that may not be sent: private states, faces, features, labels, names, folders."""
    secrets = Secrets()
    components = tapped.experiment.components
    for (client, number), state in tapped.states.items():
        for name, value in {"prototypes": state.prototypes, **state.dfc}.items():
            secrets.rows(f"{client} round {number} {name}", value)
    for client in CLIENTS:
        for index in tapped.faces_of(client).tolist():
            pixels = tapped.pixels(index)
            for layout, image in (("HWC", pixels), ("CHW", pixels.permute(2, 0, 1))):
                for scale, values in scaled(image).items():
                    secrets.array(f"{client} image {index} {layout} {scale}", values)
        for model in MODELS:
            for mirrored in (False, True):
                features = tapped.features(model, client, mirrored=mirrored)
                secrets.rows(f"{client} features {model}{' mirrored' if mirrored else ''}", features)
        for which in ("train", "test", "all"):
            for numbering in ("global", "own"):
                secrets.labels(f"{client} labels {which} {numbering}", tapped.labels(client, which, numbering))
    for identity in components.faces.identities:
        secrets.whole(f"name {identity}", identity.encode())
    for path in (components.faces_folder, components.folder):
        secrets.whole(f"path {path}", str(path).encode())
    return secrets


def test_no_private_value_is_sent(tapped: Tapped, private: Secrets) -> None:
    assert len(tapped.broadcasts) == len(tapped.replies) == 2 * 2, "two rounds, two clients"
    assert len(private.names) > 2000
    assert private.found([*tapped.broadcasts, *tapped.replies]) == []


def test_no_private_value_is_in_shared_folders(tapped: Tapped, private: Secrets) -> None:
    """The shared folder of public features, which all clients' processes read."""
    files = [path.read_bytes() for path in tapped.experiment.components.features_folder.rglob("*.npy")]
    assert len(files) == 1
    assert private.found(files) == []


def test_the_previous_local_backbone_is_not_sent_back(tapped: Tapped) -> None:
    """A broadcast contains averages only, never a client's weights of the previous round."""
    secrets = Secrets()
    for update in map(decode_reply, tapped.replies):
        assert isinstance(update, Update)
        for name, value in update.weights.items():
            if value.ndim == 4:
                secrets.array(f"{update.client} {update.round} {name}", value)
    assert secrets.found(tapped.broadcasts) == []


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Tapped:
    """The run of ``tapped`` with ``federation.prototypes=keep``."""
    folder = tmp_path_factory.mktemp("kept")
    made = Tapped(Experiment.create(tiny_config(folder, "federation.prototypes=keep"), folder / "run"))
    made.experiment.run(engine=partial(local_engine, tap=made.tap))
    return made


def test_kept_public_prototypes_are_not_sent(tapped: Tapped, kept: Tapped) -> None:
    """They are trained in the first round as those that ``share`` sends, which the search finds there."""
    secrets = Secrets()
    for update in map(decode_reply, tapped.replies[:2]):
        assert isinstance(update, Update)
        assert update.prototypes is not None
        secrets.rows(f"{update.client} public prototypes", update.prototypes)
        same = next(found for found in map(decode_reply, kept.replies[:2]) if found.client == update.client)
        assert isinstance(same, Update)
        assert same.prototypes is None
        assert all(torch.equal(same.weights[name], value) for name, value in update.weights.items())
    assert len(secrets.found(tapped.replies)) == len(secrets.names) == 2 * 4
    assert secrets.found([*kept.broadcasts, *kept.replies]) == []
    first, second = (decode_broadcast(kept.broadcasts[number]) for number in (0, 2))
    assert (first.round, second.round) == (1, 2)
    assert torch.equal(first.prototypes, second.prototypes)


def planted(tapped: Tapped, data: bytes) -> bytes:
    """Return an update of the run with ``data`` at an odd offset among the values of a weight."""
    update = decode_reply(tapped.replies[0])
    assert isinstance(update, Update)
    sizes = {name: value.nbytes for name, value in update.weights.items() if value.nbytes > len(data) + 2000}
    name = min(sizes, key=lambda name: sizes[name])
    hiding = bytearray(raw(update.weights[name]))
    hiding[1001 : 1001 + len(data)] = data
    weight = torch.frombuffer(hiding, dtype=torch.float32)
    return encode(Update(1, update.client, {name: weight}, None, update.count, update.metrics))


def feature(run: Tapped, model: str, mirrored: bool = False) -> torch.Tensor:
    return run.features(model, "client-02", mirrored=mirrored)[7]


def private_row(run: Tapped, number: int, entry: str, row: int) -> torch.Tensor:
    state = run.states["client-02", number]
    value = state.prototypes if entry == "prototypes" else state.dfc[entry]
    return value.reshape(-1, value.shape[-1])[row]


def image(run: Tapped, layout: str, scale: str) -> torch.Tensor:
    pixels = run.pixels(int(run.faces_of("client-02")[3]))
    return scaled(pixels if layout == "HWC" else pixels.permute(2, 0, 1))[scale]


def labels(run: Tapped, which: str, numbering: str) -> torch.Tensor:
    return torch.from_numpy(run.labels("client-02", which, numbering).copy())


def leaks() -> Iterator[tuple[str, Callable[[Tapped], torch.Tensor], tuple[torch.dtype, ...]]]:
    """A secret's name, the array, and the types it is sent in."""
    floats = (torch.float32, torch.float16, torch.bfloat16)
    for model in MODELS:
        yield f"client-02 features {model} row 7", partial(feature, model=model), floats
        yield f"client-02 features {model} mirrored row 7", partial(feature, model=model, mirrored=True), floats[:1]
    for number in (1, 2):
        for entry, rows in PRIVATE_ROWS.items():
            for row in rows:
                source = partial(private_row, number=number, entry=entry, row=row)
                yield f"client-02 round {number} {entry} row {row}", source, floats[:1]
    for layout in ("HWC", "CHW"):
        yield f"{layout} as uint8", partial(image, layout=layout, scale="as uint8"), (torch.uint8,)
        for scale in ("to ±1", "to ±1 by 255", "to 1"):
            yield f"{layout} {scale}", partial(image, layout=layout, scale=scale), floats
    for which in ("train", "test", "all"):
        for numbering in ("global", "own"):
            types = (torch.uint8, torch.int32, torch.int64, torch.float32)
            yield f"client-02 labels {which} {numbering}", partial(labels, which=which, numbering=numbering), types


PLANTED = [
    pytest.param(name, source, dtype, unit, id=f"{name} {str(dtype)[6:]}{' unit' if unit else ''}")
    for name, source, dtypes in leaks()
    for dtype in dtypes
    for unit in ([False, True] if "features" in name and dtype != torch.bfloat16 else [False])
]


@pytest.mark.parametrize(("name", "source", "dtype", "unit"), PLANTED)
def test_a_planted_array_is_found(
    tapped: Tapped,
    private: Secrets,
    name: str,
    source: Callable[[Tapped], torch.Tensor],
    dtype: torch.dtype,
    unit: bool,
) -> None:
    array = source(tapped)
    array = torch.nn.functional.normalize(array, dim=-1) if unit else array
    assert any(name in leak for leak in private.found([planted(tapped, raw(array.to(dtype)))]))


def test_a_planted_word_is_found(tapped: Tapped, private: Secrets) -> None:
    update = decode_reply(tapped.replies[0])
    assert isinstance(update, Update)
    metrics = {**update.metrics, "loss of person-03": 1.0}
    assert private.found([encode(Update(1, "client-01", {}, None, 3, metrics))]) == ["name person-03"]
    reason = f"{tapped.experiment.components.folder}/clients/client-01 cannot be read"
    assert private.found([encode(Failure("client-01", reason))]) == [f"path {tapped.experiment.components.folder}"]


@dataclass
class Unreadable:
    """Makes clients whose faces cannot be read, for a reason that names a person and a file."""

    folder: Path

    def __call__(self, client: str) -> Client:
        """Never returns."""
        raise FedfrError(f"person-03 has a damaged image, {self.folder}/person-03/1.png; import the faces again")


def test_a_failure_names_neither_person_nor_file(tapped: Tapped, private: Secrets) -> None:
    said: list[bytes] = []
    broadcast = decode_broadcast(tapped.broadcasts[0])
    with LocalEngine(
        Unreadable(tapped.experiment.components.folder), tap=lambda *message: said.append(message[2])
    ) as engine:
        replies = list(engine.exchange(broadcast, CLIENTS))
    assert replies == [Failure(client, "it stopped; its own log says why") for client in CLIENTS]
    assert len(said) == 4
    assert private.found(said) == []
