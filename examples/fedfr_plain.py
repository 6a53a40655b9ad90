"""FedFR in plain lines: one process, no caches, every equation where it is used.

The method of Liu et al., AAAI 2022 (arXiv 2112.12496); a test compares losses and end states with those of `fedfr`.
Run: `python examples/fedfr_plain.py`. Equations by this file's numbers, then by those of the papers they stem from:
(1) H_i = {x in D_g : max cos(f(x), f(x')) > tau_HN}    (2) Phi_i = mean feature of each private identity
(3) L_cos, CosFace (arXiv 1801.09414) eq. 4             (4) L_con, MOON (arXiv 2103.16257) eq. 3
(5) L_dfc, SphereFace2 (arXiv 2108.01513) eq. 7         (6) L = L_cos + 10 L_dfc + mu L_con
(7) theta = sum n_i theta_i / sum n_i, FedAvg (arXiv 1602.05629) algorithm 1; Phi_g likewise
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own habit
from torch import Tensor, nn

SCALE, MARGIN = 30.0, 0.4  # s and m of (3)
MU, TEMPERATURE = 5.0, 0.5  # mu of (6), T of (4)
DFC_WEIGHT, R, DFC_MARGIN, LAMBDA, POWER = 10.0, 30.0, 0.4, 0.7, 3  # of (6); r, m, lambda, t of (5)
TAU_HN = 0.4  # of (1)


@dataclass
class PlainClient:
    """Private faces (n, 3, H, W) with labels 0..K-1, and what persists from round to round."""

    images: Tensor
    labels: Tensor
    prototypes: Tensor | None = None  # Phi_i
    transform: nn.Linear | None = None  # T_i
    branches: nn.Linear | None = None  # w_ik, b_ik
    previous: nn.Module | None = None  # f after the previous participation
    history: list[list[float]] = field(default_factory=list)  # per step: L_cos, L_dfc, L_con, L


def l_cos(u: Tensor, prototypes: Tensor, labels: Tensor) -> Tensor:
    """(3) Cross-entropy of s (cos(z, phi_j) - m 1[j = y])."""
    cosine = F.linear(F.normalize(u), F.normalize(prototypes))
    return F.cross_entropy(SCALE * (cosine - MARGIN * F.one_hot(labels, len(prototypes))), labels)


def l_con(u: Tensor, u_global: Tensor, u_previous: Tensor) -> Tensor:
    """(4) -log( e^{cos(u,u_g)/T} / (e^{cos(u,u_g)/T} + e^{cos(u,u_p)/T}) )."""
    near = torch.exp(F.cosine_similarity(u, u_global) / TEMPERATURE)
    far = torch.exp(F.cosine_similarity(u, u_previous) / TEMPERATURE)
    return -torch.log(near / (near + far)).mean()


def l_dfc(u: Tensor, transform: nn.Linear, branches: nn.Linear, labels: Tensor) -> Tensor:
    """(5) One binary classifier per own identity on z' = T(u); public faces (label >= K) are negative for all."""
    cosine = F.linear(F.normalize(transform(u)), F.normalize(branches.weight))
    g = 2 * ((cosine + 1) / 2) ** POWER - 1  # g(c) of (5)
    own = labels[:, None] == torch.arange(len(branches.weight))
    positive = LAMBDA / R * torch.log1p(torch.exp(-(R * (g - DFC_MARGIN) + branches.bias)))
    negative = (1 - LAMBDA) / R * torch.log1p(torch.exp(R * (g + DFC_MARGIN) + branches.bias))
    return torch.where(own, positive, negative).sum(dim=1).mean()


@torch.no_grad()
def features(backbone: nn.Module, images: Tensor) -> Tensor:
    """u = f(x) in evaluation mode."""
    training = backbone.training
    out: Tensor = backbone.eval()(images)
    backbone.train(training)
    return out


def hard_negatives(backbone: nn.Module, public: Tensor, private: Tensor) -> Tensor:
    """(1) Public images whose largest similarity to a private image exceeds tau_HN."""
    similarity = F.normalize(features(backbone, public)) @ F.normalize(features(backbone, private)).T
    return torch.nonzero(similarity.amax(dim=1) > TAU_HN).flatten()


def local_update(
    client: PlainClient,
    generic: nn.Module,
    prototypes: Tensor,
    public: tuple[Tensor, Tensor],
    epochs: int,
    learning_rate: float,
    batch_size: int,
    generators: list[torch.Generator],
) -> tuple[dict[str, Tensor], Tensor, int]:
    """One client's round: returns theta_i, Phi_g,i and n_i. ``generators``: one per epoch, for order and flips."""
    kept = hard_negatives(generic, public[0], client.images)  # (1)
    own = int(client.labels.max()) + 1  # K_i
    images = torch.cat([client.images, public[0][kept]])
    labels = torch.cat([client.labels, own + public[1][kept]])
    if client.prototypes is None or client.transform is None or client.branches is None:  # first participation
        u = features(generic, client.images)
        client.prototypes = torch.stack([u[client.labels == k].mean(dim=0) for k in range(own)])  # (2)
        client.transform = nn.Linear(u.shape[1], u.shape[1])
        client.branches = nn.Linear(u.shape[1], own)
        with torch.no_grad():
            client.transform.weight.copy_(torch.eye(u.shape[1]))
            client.transform.bias.zero_()
            client.branches.weight.copy_(client.prototypes)
            client.branches.bias.zero_()
    backbone = copy.deepcopy(generic)
    phi_own, phi_public = nn.Parameter(client.prototypes.clone()), nn.Parameter(prototypes.clone())
    trained = [*backbone.parameters(), phi_own, phi_public]
    trained += [*client.transform.parameters(), *client.branches.parameters()]
    optimizer = torch.optim.SGD(trained, lr=learning_rate, momentum=0.9, weight_decay=5e-4)
    batches = max(1, len(images) // batch_size)  # the last partial batch is dropped, but never the only one
    backbone.train()
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = learning_rate * (0.1 if epoch >= math.ceil(0.75 * epochs) else 1.0)
        order = torch.randperm(len(images), generator=generators[epoch])
        flips = torch.rand(len(images), generator=generators[epoch]) < 0.5
        for indices in [order[b * batch_size : (b + 1) * batch_size] for b in range(batches)]:
            x = torch.where(flips[indices, None, None, None], images[indices].flip(3), images[indices])
            y = labels[indices]
            u = backbone(x)
            u_global = features(generic, x)
            u_previous = u_global if client.previous is None else features(client.previous, x)
            cos = l_cos(u, torch.cat([phi_own, phi_public]), y)  # (3)
            dfc = l_dfc(u, client.transform, client.branches, y)  # (5)
            con = l_con(u, u_global, u_previous)  # (4); zero gradient in the first participation
            loss = cos + DFC_WEIGHT * dfc + MU * con  # (6)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            client.history.append([float(term.detach()) for term in (cos, dfc, con, loss)])
    client.prototypes = phi_own.detach()
    client.previous = copy.deepcopy(backbone)
    return {k: v.detach().clone() for k, v in backbone.state_dict().items()}, phi_public.detach(), len(images)


def average(states: list[dict[str, Tensor]], counts: list[int]) -> dict[str, Tensor]:
    """(7); integer counters: the maximum."""
    merged = {}
    for name, first in states[0].items():
        stacked = torch.stack([state[name] for state in states])
        if first.dtype.is_floating_point:
            shares = torch.tensor(counts, dtype=torch.float64) / sum(counts)
            merged[name] = torch.tensordot(shares, stacked.double(), dims=1).to(first.dtype)
        else:
            merged[name] = stacked.amax(dim=0)
    return merged


def main() -> None:
    """Two clients, two rounds, on random images: shows that the losses fall."""
    torch.manual_seed(0)
    generic = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 32))
    public = (torch.rand(24, 3, 16, 16), torch.arange(24) % 6)
    clients = [PlainClient(torch.rand(12, 3, 16, 16), torch.arange(12) % 3) for _ in range(2)]
    prototypes = torch.randn(6, 32)
    for number in range(1, 3):
        returned = []
        for client in clients:
            generators = [torch.Generator().manual_seed(100 * number + epoch) for epoch in range(4)]
            returned.append(local_update(client, generic, prototypes, public, 4, 0.05, 8, generators))
        states, public_prototypes, counts = (list(part) for part in zip(*returned, strict=True))
        generic.load_state_dict(average(states, counts))  # (7)
        prototypes = average([{"phi": phi} for phi in public_prototypes], counts)["phi"]  # (7)
        print(f"round {number}: loss of the last step {[round(client.history[-1][3], 3) for client in clients]}")


if __name__ == "__main__":
    main()
