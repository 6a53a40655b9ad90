"""Tables of a benchmark: better models, equivalence, costs, scorings, and their appearance in a terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.cells import cell_len

from fedfr.reporting.benchmark_table import DESCRIPTIVE, benchmark_tables, overview_table, results_text, scorings_of
from fedfr.reporting.cost_columns import cost_cells, cost_note
from fedfr.results.costs import DealCost, DealCosts, RoundCost, deal_costs
from fedfr.results.metric_groups import Deals
from fedfr.results.result_rows import Row, scoring_of

ONE = "personalized-1:1"
MEANS = {
    ("pretrained", "pretrained"): 0.60,
    ("fedavg", "generic"): 0.65,
    ("fedavg", "personalized"): 0.64,
    ("distill-fedfr", "generic"): 0.50,
    ("distill-fedfr", "personalized"): 0.699,
    ("fedfr", "generic"): 0.71,
    ("fedfr", "personalized"): 0.70,
}


def rows(protocol: str = ONE, seeds: int = 4) -> list[Row]:
    """Two clients a seed; values that vary a little and differently over seeds."""
    return [
        Row(method, seed, 1, client, model, protocol, "TAR@FAR=1e-4", mean + spread, 20, 20)
        for number, ((method, model), mean) in enumerate(MEANS.items())
        for seed in range(seeds)
        for client, spread in (("a", 1e-4 * (seed * (number + 2) % 5)), ("b", 2e-4 * (seed * number % 3)))
    ]


def costs(machines: tuple[str, ...] = (), **change: int | None) -> DealCosts:
    """Two rounds of every method that trains, in two deals of which the second costs twice as much."""
    known: dict[str, int | None] = {"steps": 600, "images": 9600, **change}
    one = [
        RoundCost(name, seed, number, 1.0, 200.0 * (seed + 1), 60_000_000, 150_000_000 * (seed + 1), 1, **known)
        for name, model in MEANS
        if name != "pretrained" and model == "generic"
        for seed in range(2)
        for number in (1, 2)
    ]
    return deal_costs(one, machines)


def test_the_better_model_of_a_method_is_compared_and_fedfr_has_no_choice() -> None:
    (table,) = benchmark_tables(rows(), Deals(people=40))
    assert table.head[4:] == ("− fedavg generic [95 %]", "− fedfr personalized [95 %]")
    cells = {line[0]: line[4:] for line in table.lines}
    assert [model for model, (one, other) in cells.items() if not one and not other] == [
        "fedavg personalized",
        "distill-fedfr generic",
        "fedfr personalized",
    ]
    assert cells["fedavg generic"][0] == ""
    assert cells["fedfr generic"][0].startswith("+6.0 ["), "its better model, against FedAvg's"
    assert cells["fedfr generic"][1] == "", "the same method"
    assert "which favours it" in table.conclusion
    assert "public set and the starting file that all seeds have in common" in table.conclusion
    assert "without an interval" not in table.conclusion


def test_people_who_train_in_one_seed_and_are_tested_in_another_are_counted() -> None:
    """In the generic protocols, where they are."""
    deals, note = Deals(people=40, tested=14), "14 of the people in training test the generic model of another seed"
    generic = [replace(row, protocol="generic-1:1") for row in rows() if row.client == "a"]
    conclusions = {table.protocol: table.conclusion for table in benchmark_tables([*generic, *rows()], deals)}
    assert note in conclusions["generic-1:1"]
    assert note not in conclusions[ONE]


def test_differences_that_few_people_make_are_explained() -> None:
    high = [replace(row, value=(row.value or 0.0) + 0.25) for row in rows()]
    (table,) = benchmark_tables(high, Deals(people=40))
    assert {line[4] for line in table.lines if "[" in line[4]} == set()
    assert "without an interval rests on fewer than 10 people" in table.conclusion


def test_every_table_is_descriptive_whatever_its_differences() -> None:
    """Results are declared comparisons alone: here nothing is marked, in a file or in a terminal."""
    given = [*(replace(row, metric="TAR@FAR=1e-2") for row in rows()), *rows(), *rows(f"{ONE} flip")]
    tables = benchmark_tables(given, Deals(people=40))
    assert len(tables) == 3
    for table in tables:
        assert table.conclusion.count(DESCRIPTIVE) == 1
        cells = "".join(cell for line in table.lines for cell in line)
        assert "[" in cells
        assert not {"*", "="} & {*cells, *table.text().partition("\n")[2]}


def test_a_mean_over_fewer_clients_is_marked() -> None:
    """A client without a value, refused or not evaluated at all, of one model or of all."""
    refused = [
        replace(row, value=None) if (row.client, row.model, row.seed) == ("b", "generic", 0) else row for row in rows()
    ]
    without = [row for row in refused if (row.method, row.client) != ("pretrained", "a")]
    (table,) = benchmark_tables(without, Deals(people=40))
    means = {line[0]: line[1] for line in table.lines}
    assert means["fedavg generic"].endswith(" (7 of 8 clients)")
    assert means["pretrained"].endswith(" (4 of 8 clients)")
    assert "clients" not in means["fedavg personalized"]
    _, lines = overview_table(without)
    assert {line[0]: "clients)" in line[1] for line in lines} == {
        name: "clients)" in mean for name, mean in means.items()
    }
    nobody = [replace(row, value=None) if row.client == "b" else row for row in rows()]
    (table,) = benchmark_tables(nobody, Deals(people=40))
    assert {line[1][-17:] for line in table.lines} == {" (4 of 8 clients)"}


def test_costs_of_a_deal_are_beside_every_model() -> None:
    known = costs(("a CPU",))
    (table,) = benchmark_tables(rows(), Deals(), known)
    assert table.head[-5:] == ("steps", "images", "MB up", "MB down", "client CPU seconds")
    cells = {line[0]: line[-5:] for line in table.lines}
    assert cells["fedavg generic"] == cells["fedavg personalized"] == ("1,200", "19,200", "120", "450", "600")
    assert cells["pretrained"] == ("0", "0", "0", "0", "0")
    head, lines = overview_table(rows(), known)
    assert head[-5:] == table.head[-5:]
    assert {line[0]: line[-5:] for line in lines} == cells
    older = {line[0]: line[-5:] for line in benchmark_tables(rows(), Deals(), costs(steps=None))[0].lines}
    assert older["fedfr generic"] == ("–", "19,200", "120", "450", "600")
    assert len(overview_table(rows())[0]) == 2, "no costs are known"


def test_clients_are_charged_as_if_alone_where_that_is_known() -> None:
    fedfr = RoundCost("fedfr", 0, 1, client_seconds=70.0, alone_seconds=95.0)
    measured = deal_costs([fedfr, RoundCost("fedavg", 0, 1, client_seconds=20.0)])
    assert [cost_cells(measured, name)[-1] for name in ("fedfr", "fedavg")] == ["95 (70)", "20"]
    assert "charged with all of them" in cost_note(measured)
    assert "which each of them would compute" in cost_note(costs())


@pytest.mark.parametrize(
    ("machines", "told"),
    [
        (("a CPU",), "on one machine (a CPU)"),
        (("a CPU", "b"), "on several machines (a CPU; b)"),
        ((), "if it were alone."),
    ],
)
def test_one_machine_is_only_claimed_when_it_is_known(machines: tuple[str, ...], told: str) -> None:
    text = " ".join(results_text(rows(), 80, Deals(), costs(machines)).split())
    assert told in text
    assert ("machine" in text) == bool(machines)


def test_scorings_have_tables_of_their_own_after_the_plain_ones() -> None:
    mixed = [*rows(f"{ONE} flip+as-norm"), *rows(), *rows("verification-set flip")]
    assert scorings_of(mixed) == ["plain", "flip+as-norm"]
    assert scoring_of("verification-set flip") == "plain", "the name of a set"
    protocols = [table.protocol for table in benchmark_tables(mixed)]
    assert protocols == [ONE, "verification-set flip", f"{ONE} flip+as-norm"]
    assert overview_table(mixed)[0] == ("model", f"{ONE} TAR@FAR=1e-4", "verification-set flip TAR@FAR=1e-4")
    assert overview_table(mixed, scoring="flip+as-norm")[0] == ("model", f"{ONE} TAR@FAR=1e-4")


def test_a_terminal_of_80_columns_shows_whole_titles() -> None:
    text = results_text(rows(), 80, Deals(people=40), costs(("a CPU",)))
    lines = text.splitlines()
    assert max(map(cell_len, lines)) <= 80
    assert sum(line.strip().endswith("[95 %]") for line in lines) == 2
    assert any(line.rstrip().endswith("− fedavg") for line in lines)
    (costs_head,) = (line for line in lines if line.startswith("model") and "steps" in line)
    assert costs_head.split() == ["model", "steps", "images", "up", "down", "seconds"], "in one block"
    assert (
        "steps"
        in results_text(rows(), 200, Deals(), costs()).splitlines()[3]
        + results_text(rows(), 200, Deals(), costs()).splitlines()[4]
    )


def test_one_deal_has_a_table_of_costs() -> None:
    text = results_text(rows(seeds=1), 80, Deals(), costs(("a CPU",)))
    lines = text.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("cost "))
    assert lines[place].split() == ["cost", "steps", "images", "up", "down", "seconds"]
    assert lines[place + 2].split() == ["pretrained", "0", "0", "0", "0", "0"]
    assert lines[place + 3].split() == ["fedavg", "1,200", "19,200", "120", "450", "600"]
    assert max(map(cell_len, lines)) <= 80
    assert "steps" not in results_text(rows(seeds=1), 80)


def test_costs_of_methods_that_were_not_recorded_are_unknown() -> None:
    assert DealCosts().of("fedavg") is None
    assert costs().of("pretrained") == DealCost()
