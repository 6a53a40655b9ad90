"""Text of the results table: means, worst clients, counts and missing values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from rich.cells import cell_len

from fedfr.reporting.benchmark_table import results_text
from fedfr.reporting.table import column_title, results_table
from fedfr.reporting.text_tables import text_table
from fedfr.results.result_rows import Row

ONE_TO_ONE, ONE_TO_MANY, GENERIC = "personalized-1:1", "personalized-1:N", "generic-1:1"
TAR, RARE, TPIR = "TAR@FAR=1e-1", "TAR@FAR=1e-3", "TPIR@FPIR=1e-1"


def row(
    column: tuple[str, str],
    client: str,
    figure: tuple[str, str],
    value: float | None,
    counts: tuple[int, int] = (45, 1200),
    refused: str = "",
) -> Row:
    method, model = column
    return Row(method, 0, 2, client, model, *figure, value, *counts, refused)


def few(impostors: float) -> str:
    return f"rests on {impostors:g} impostors; at least 10 are needed"


def lines(rows: Iterable[Row]) -> list[str]:
    return [line for line in results_table(list(rows), 200).splitlines() if line.strip()]


START, MINE, SERVER = ("pretrained", "pretrained"), ("fedfr", "personalized"), ("fedfr", "generic")
CLIENTS = ("client-01", "client-02", "client-03")
COMPLETE = [
    # In an order of its own: columns are put in theirs.
    *(row(MINE, client, (ONE_TO_ONE, TAR), value) for client, value in zip(CLIENTS, (1.0, 0.9, 0.5), strict=True)),
    row(START, "client-01", (ONE_TO_ONE, TAR), 0.5, (45, 1200)),
    row(START, "client-02", (ONE_TO_ONE, TAR), 0.25, (60, 1300)),
    row(START, "client-03", (ONE_TO_ONE, TAR), 0.75, (66, 1100)),
    row(START, "", (GENERIC, TAR), 0.3, (20, 400)),
    row(SERVER, "", (GENERIC, TAR), 0.456, (20, 400)),
]
EXPLANATION = (
    "in %: mean over clients (worst client); a single number for protocols without clients. Counts are per client."
)


def test_mean_worst_and_counts() -> None:
    assert lines(COMPLETE) == [
        "                            TAR",
        "personalized-1:1      @FAR=1e-1",
        "───────────────────────────────",
        "pretrained          50.0 (25.0)",
        "fedfr personalized  80.0 (50.0)",
        "genuine                   45–66",
        "impostor            1,100–1,300",
        "                          TAR",
        "generic-1:1         @FAR=1e-1",
        "─────────────────────────────",
        "pretrained               30.0",
        "fedfr generic            45.6",
        "genuine                    20",
        "impostor                  400",
        EXPLANATION,
    ]


def test_a_client_without_a_model_is_named_and_the_mean_marked() -> None:
    shown = lines(each for each in COMPLETE if (each.model, each.client) != ("personalized", "client-03"))
    assert shown[4] == "fedfr personalized  95.0 (90.0) [2 of 3]"
    assert shown[14:] == [
        EXPLANATION,
        "[n of C]: mean over n clients of C only.",
        "no fedfr personalized model of client-03",
    ]


def test_figures_refused_for_some_clients_are_named_with_the_reason() -> None:
    figure = (ONE_TO_MANY, TPIR)
    rows = [row(column, client, figure, 0.5, (9, 100)) for column in (START, MINE) for client in CLIENTS[:1]]
    for column in (START, MINE):
        rows.append(row(column, "client-02", figure, None, (9, 90), few(9)))
        rows.append(row(column, "client-03", figure, None, (0, 100), "nothing genuine to accept"))
    shown = lines(rows)
    assert [line.split() for line in shown[3:7]] == [
        ["pretrained", "50.0", "(50.0)", "[1", "of", "3]"],
        ["fedfr", "personalized", "50.0", "(50.0)", "[1", "of", "3]"],
        ["genuine", "0–9"],
        ["impostor", "90–100"],
    ]
    assert shown[7:] == [
        EXPLANATION,
        "[n of C]: mean over n clients of C only.",
        "refused for client-02 in personalized-1:N: TPIR@FPIR=1e-1 – rests on 9 impostors; at least 10 are needed",
        "refused for client-03 in personalized-1:N: TPIR@FPIR=1e-1 – nothing genuine to accept",
    ]


def test_metrics_refused_for_all_are_named_below_with_their_own_reasons() -> None:
    alone = "no identity has two images, so none can be enrolled"
    rows = [
        *COMPLETE,
        *(row(START, client, (ONE_TO_ONE, RARE), None, refused=few(1.2)) for client in CLIENTS),
        row(START, "", (GENERIC, RARE), None, refused=few(0.4)),
        row(START, "", ("generic-1:N", TPIR), None, (0, 9), alone),
        row(START, "", ("generic-1:N", "rank-1"), None, (0, 0), alone),
        row(START, "client-01", (ONE_TO_MANY, TPIR), None, refused=few(7.5)),
        row(START, "client-02", (ONE_TO_MANY, TPIR), None, refused=few(7.2)),
    ]
    shown = lines(rows)
    assert shown[:15] == lines(COMPLETE), "they take no line of the table"
    assert shown[15:] == [
        f"not shown for personalized-1:1: TAR@FAR=1e-3 – {few(1.2)}",
        f"not shown for generic-1:1: TAR@FAR=1e-3 – {few(0.4)}",
        f"not shown for generic-1:N: TPIR@FPIR=1e-1, rank-1 – {alone}",
        f"not shown for personalized-1:N: TPIR@FPIR=1e-1 – {few(7.5).replace(';', ' or fewer;')}",
    ]


def test_refused_metrics_of_a_protocol_are_one_sentence() -> None:
    rates = {"1e-3": 1.2, "1e-4": 0.12, "1e-5": 0.012}
    rows = [
        *COMPLETE,
        *(row(START, "", (GENERIC, f"TAR@FAR={rate}"), None, refused=few(rest)) for rate, rest in rates.items()),
        row(START, "", (GENERIC, "TAR@FAR=1e-6"), None, refused="nothing genuine to accept"),
    ]
    few_left = "TAR@FAR=1e-3, 1e-4, 1e-5 – rests on 1.2 impostors or fewer; at least 10 are needed"
    none_left = "TAR@FAR=1e-6 – nothing genuine to accept"
    assert lines(rows)[15:] == [f"not shown for generic-1:1: {few_left}; {none_left}"]


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("seeds", [1, 3])
def test_no_table_is_wider_than_the_screen_and_no_name_is_cut(width: int, seeds: int) -> None:
    methods = [("fedfr-hn-con", "personalized"), ("branch-cosface", "personalized"), START, ("fedavg", "generic")]
    metrics = ["TAR@FAR=1e-1", "TAR@FAR=1e-2", "TAR(insightface)@FAR=1e-3", "TAR@FAR=1e-4", "EER", "accuracy", RARE]
    rows = [
        replace(row(method, client, (ONE_TO_ONE, metric), 0.1 * number, (66, 1_234_567)), seed=seed)
        for method in methods
        for number, client in enumerate(CLIENTS)
        for metric in metrics
        for seed in range(seeds)
    ]
    rows.append(row(START, "client-04", (ONE_TO_ONE, TAR), None, refused=few(1.2)))
    text = results_text(rows, width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "…" not in text
    for method in methods:
        assert column_title(*method) in text
    words = " ".join(text.split())
    for metric in metrics:
        assert metric in words or metric.replace("@", " @") in words or metric.split("@")[1] in words


def test_columns_that_do_not_fit_continue_below() -> None:
    table = text_table(("model", "mean", "a very\nlong"), [("fedfr", "98.0", "1"), ("界界", "7.0", "22")], 14)
    assert table.splitlines() == [
        "model  mean",
        "───────────",
        "fedfr  98.0",
        "界界    7.0",
        "",
        "       a very",
        "model    long",
        "─────────────",
        "fedfr       1",
        "界界       22",
    ]
