"""FedAvgM and FedAdam: two steps computed by hand, and entries that stay unchanged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import torch

from fedfr.config.schema import FederationConfig, ServerConfig
from fedfr.federation.journal import Journal
from fedfr.federation.messages import Broadcast, Update
from fedfr.federation.method import GenericModel
from fedfr.federation.server import Server
from fedfr.federation.server_optimizer import optimizer_step
from fedfr.methods.fedavg import FedAvg

ROWS = torch.zeros(1, 2)


def steps(*means: float, **settings: object) -> list[float]:
    """Return the models after successive rounds with these client means, starting from θ = 0."""
    config = ServerConfig.model_validate(settings)
    generic, found = GenericModel({"w": torch.zeros(1, dtype=torch.float64)}, ROWS), []
    for mean in means:
        average = GenericModel({"w": torch.tensor([mean], dtype=torch.float64)}, ROWS, generic.server_state)
        generic = optimizer_step(generic, average, config, frozenset())
        found.append(float(generic.weights["w"]))
    return found


def test_without_an_optimizer_the_average_is_used() -> None:
    assert steps(2.0, 3.0) == [2.0, 3.0]


def test_momentum_by_hand() -> None:
    """v₁ = 2, θ₁ = 1; Δ₂ = 3 − 1, v₂ = 0.9·2 + 2, θ₂ = 1 + 0.5·3.8."""
    assert steps(2.0, 3.0, optimizer="momentum", learning_rate=0.5) == pytest.approx([1.0, 2.9])


def test_without_momentum_and_at_rate_one_it_is_the_average() -> None:
    assert steps(2.0, 3.0, optimizer="momentum", beta1=0) == pytest.approx([2.0, 3.0])


def test_adam_by_hand() -> None:
    settings = {"optimizer": "adam", "learning_rate": 0.5, "beta1": 0.9, "beta2": 0.5, "tau": 0.1}
    m = 0.1 * 2
    v = 0.5 * 0.1**2 + 0.5 * 4
    first = 0.5 * m / (v**0.5 + 0.1)
    way = 3 - first
    m, v = 0.9 * m + 0.1 * way, 0.5 * v + 0.5 * way**2
    assert steps(2.0, 3.0, **settings) == pytest.approx([first, first + 0.5 * m / (v**0.5 + 0.1)])


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_statistics_integers_and_unshared_entries_equal_the_mean(optimizer: str) -> None:
    before = GenericModel(
        {"own": torch.ones(2), "var": torch.ones(2), "steps": torch.tensor(1), "w": torch.ones(2)}, ROWS
    )
    mean = {**before.weights, "var": torch.full((2,), 0.1), "steps": torch.tensor(5), "w": torch.zeros(2)}
    config = ServerConfig.model_validate({"optimizer": optimizer, "learning_rate": 0.3})
    after = optimizer_step(before, GenericModel(mean, ROWS), config, frozenset({"var"}))
    assert torch.equal(after.weights["var"], mean["var"])
    assert torch.equal(after.weights["own"], mean["own"])
    assert int(after.weights["steps"]) == 5
    assert not torch.equal(after.weights["w"], mean["w"])
    assert all("/w" in name for name in after.server_state)


class Drifting:
    """An engine of one client whose weights drift by the round's number."""

    def exchange(
        self,
        broadcast: Broadcast,
        clients: Sequence[str],
        identities: Mapping[str, torch.Tensor],
        accepted: Mapping[str, int],
    ) -> Iterator[Update]:
        """One reply."""
        weights = {name: value + broadcast.round for name, value in broadcast.weights.items()}
        yield Update(broadcast.round, clients[0], weights, None, 3)


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_a_resumed_run_has_its_moments(tmp_path: Path, optimizer: str) -> None:
    def end(folder: Path, *rounds: int) -> torch.Tensor:
        generic = GenericModel({"w": torch.zeros(3)}, ROWS)
        for count in rounds:
            config = FederationConfig.model_validate({"rounds": count, "server": {"optimizer": optimizer}})
            server = Server(
                FedAvg({}), Drifting(), Journal(folder), config, ["a"], lambda number: frozenset({"w"}), seed=0
            )
            generic = server.run(GenericModel({"w": torch.zeros(3)}, ROWS))
        return generic.weights["w"]

    assert torch.equal(end(tmp_path / "once", 3), end(tmp_path / "resumed", 1, 2, 3))
