"""Verdict of the quickstart: which questions its deals settle, and which they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedfr.reporting.benchmark_table import FEW_PEOPLE
from fedfr.reporting.table import column_title
from fedfr.reporting.text_tables import text_table, wrapped
from fedfr.results.comparison import Difference, compare
from fedfr.results.intervals import FEWEST_DEALS
from fedfr.results.metric_groups import DISJOINT, Deals, Key, metric_groups
from fedfr.results.result_rows import Row

__all__ = ["METRIC", "QUESTIONS", "Answer", "Question", "answers", "verdict"]

METRIC = "TAR@FAR=1e-2"


@dataclass(frozen=True)
class Question:
    """Whether ``one`` is better than ``other`` in :data:`METRIC` of a protocol.

    ``subject``, ``people`` and ``object`` are the words for both models and for whom they are compared.
    """

    one: Key
    other: Key
    protocol: str
    subject: str
    people: str
    object: str

    def clause(self, word: str = "better") -> str:
        """Return the question as a statement, ``better`` or ``worse``."""
        return f"{self.subject} {word} for {self.people} than {self.object}"


_OWN, _UNSEEN = "the clients' own people", "people whom nobody trains on"
_START = ("pretrained", "pretrained"), "the starting model"
_GENERIC = ("fedfr", "generic"), "FedFR's generic model is"
_PERSONALIZED = ("fedfr", "personalized"), "FedFR's personalized models are"
_LOCAL = ("local", "local"), "models that each client trains alone"

_LIMITS = (
    "It says nothing about other faces, larger networks or accuracy in use, nor about the cause of a gain: FedFR also "
    "trains on the public images, local training does not (`fedfr benchmark` has the controls)."
)

# In the order in which they are tested.
QUESTIONS = tuple(
    Question(one, other, protocol, subject, people, object_)
    for (one, subject), (other, object_), protocol, people in (
        (_GENERIC, _START, "personalized-1:1", _OWN),
        (_PERSONALIZED, _START, "personalized-1:1", _OWN),
        (_PERSONALIZED, _LOCAL, "personalized-1:1", _OWN),
        (_GENERIC, _START, "generic-1:1", _UNSEEN),
    )
)


@dataclass(frozen=True)
class Answer:
    """A question with the difference found, None where a model has no value, and whether the deals settle it."""

    question: Question
    difference: Difference | None
    settled: bool

    @property
    def word(self) -> str:
        """``better`` or ``worse`` if settled, else ``not settled``."""
        if not self.settled or self.difference is None:
            return "not settled"
        return "better" if self.difference.mean > 0 else "worse"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        question, found = self.question, self.difference
        return {
            "one": column_title(*question.one),
            "other": column_title(*question.other),
            "protocol": question.protocol,
            "metric": METRIC,
            "difference": None if found is None else found.mean,
            "low": None if found is None else found.low,
            "high": None if found is None else found.high,
            "answer": self.word,
        }


def answers(rows: Sequence[Row], deals: Deals = DISJOINT) -> list[Answer]:
    """Return the answers to :data:`QUESTIONS` in their order.

    The order is fixed in advance, and a question counts as settled only if its 95 % interval excludes 0 and all
    questions before it are settled: the probability of any wrong answer is then at most 5 % (fixed-sequence test,
    Maurer, Hothorn and Lehmacher 1995).
    """
    groups = {(group.protocol, group.metric): group for group in metric_groups(rows, deals)}
    found: list[Answer] = []
    for question in QUESTIONS:
        group = groups.get((question.protocol, METRIC))
        difference = None if group is None else compare(group, question.one, question.other)
        settled = difference is not None and difference.significant and all(each.settled for each in found)
        found.append(Answer(question, difference, settled))
    return found


def verdict(rows: Sequence[Row], deals: Deals = DISJOINT, width: int = 80) -> str:
    """Return the answers as a table and in words, for a terminal."""
    found = answers(rows, deals)
    lines = [
        (f"{column_title(*each.question.one)} − {column_title(*each.question.other)}", *_cells(each)) for each in found
    ]
    table = text_table((f"{METRIC}, difference in points", "people", "mean [95 %]", "answer"), lines, width)
    settled = [each.question.clause(each.word) for each in found if each.settled]
    open_ = [each.question.clause() for each in found if not each.settled]
    blocks = [
        _listed("This run shows that", settled) if settled else "This run settles nothing.",
        _listed("It does not settle whether", open_),
        _basis(found, deals),
        _LIMITS,
    ]
    texts = ["\n".join(wrapped(line, width, _indent(line)) for line in block.split("\n")) for block in blocks if block]
    return "\n\n".join([table, *texts])


def _indent(line: str) -> str:
    return "  " if line.startswith("- ") else ""


def _listed(begin: str, clauses: Sequence[str]) -> str:
    return "\n".join([begin, *(f"- {clause}" for clause in clauses)]) if clauses else ""


def _basis(found: Sequence[Answer], deals: Deals) -> str:
    count = max((each.difference.deals for each in found if each.difference is not None), default=0)
    if deals.shared or count < FEWEST_DEALS:
        why = "people are private in several deals" if deals.shared else f"{FEWEST_DEALS} deals are needed"
        return f"Means over {count} deals without intervals: {why}."
    few = f" {FEW_PEOPLE}" if any(each.difference is not None and each.difference.few for each in found) else ""
    return (
        f"Means and t intervals over {count} deals, in each of which other people are private. The questions are "
        f"tested in this order, each only if all before it are settled.{few}"
    )


def _cells(answer: Answer) -> tuple[str, str, str]:
    who = "own" if answer.question.people == _OWN else "unseen"
    difference = answer.difference
    if difference is None:
        return who, "–", "not measured"
    mean = f"{100 * difference.mean:+.1f}"
    if difference.low is not None and difference.high is not None:
        mean += f" [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"
    return who, mean, answer.word
