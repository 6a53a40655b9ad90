"""Result rows with given figures."""

from __future__ import annotations

from fedfr.results.result_rows import Row

__all__ = ["rows_of"]


def rows_of(values: dict[tuple[str, str, str], dict[int, list[float]]]) -> list[Row]:
    """By (method, model, protocol) and seed, the clients' figures; of a generic protocol one."""
    found = []
    for (method, model, protocol), seeds in values.items():
        metric = "TPIR@FPIR=1e-2" if protocol.endswith("N") else "TAR@FAR=1e-3"
        for seed, figures in seeds.items():
            for number, value in enumerate(figures):
                client = "" if protocol.startswith("generic") else f"client-{number}"
                found.append(Row(method, seed, 1, client, model, protocol, metric, value, 100, 10_000))
    return found
