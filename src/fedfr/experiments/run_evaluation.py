"""Evaluation of the methods of a run in progress; the results are stored in its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from fedfr.core.files import read_json, write_json
from fedfr.experiments.components import RunComponents
from fedfr.experiments.evaluator import Evaluator, evaluate_method_run
from fedfr.experiments.method_run import MethodRun
from fedfr.experiments.stored_run import StoredRun
from fedfr.federation.method import GenericModel
from fedfr.reporting.progress import Progress
from fedfr.results.person_records import write_person_records
from fedfr.results.result_rows import Row
from fedfr.results.stored_records import records_of

__all__ = ["RunEvaluation", "evaluate_start"]


class RunEvaluation:
    """Evaluation of a run's starting model and methods, each once: stored results are read instead.

    ``on_method`` is called with the name of each method evaluated here.
    """

    def __init__(self, run: StoredRun, reporter: Progress, on_method: Callable[[str], None]) -> None:
        self._run, self._components, self._config = run, run.components, run.config
        self._reporter, self._on_method = reporter, on_method

    def start(self, start: GenericModel) -> list[Row]:
        """Return the rows of the starting model; none if the main method is that model itself."""
        if self._config.method.name == "pretrained":
            return []
        return self._finish("pretrained", 1, partial(evaluate_start, self._components, start))

    def method(self, method_run: MethodRun, generic: GenericModel) -> list[Row]:
        """Return the rows of a method whose rounds are finished; its models are exported before the evaluation."""

        def evaluate(evaluator: Evaluator) -> list[Row]:
            role = method_run.method.generic_model
            if role is not None:
                self._components.save_generic(method_run.folder / "generic.safetensors", generic, role)
            if method_run.method.personal_model is not None:
                for client in self._components.split.clients:
                    method_run.export_personal(client)
            return evaluate_method_run(method_run, method_run.total_rounds, generic, evaluator)

        return self._finish(method_run.name, method_run.model_count, evaluate)

    def of_round(self, method_run: MethodRun) -> Callable[[int, GenericModel], Mapping[str, Any]]:
        """Return the function that evaluates the rounds of ``evaluation.every``."""
        every = self._config.evaluation.every

        def evaluate(number: int, generic: GenericModel) -> Mapping[str, Any]:
            if not every or number == 0 or number % every:
                return {}
            evaluator = self._evaluator(method_run.name, method_run.model_count)
            rows = [row.to_dict() for row in evaluate_method_run(method_run, number, generic, evaluator)]
            evaluator.finish()
            self._report(method_run.name, number, rows)
            return {"evaluation": rows}

        return evaluate

    def _finish(self, name: str, models: int, evaluate: Callable[[Evaluator], list[Row]]) -> list[Row]:
        path = self._run.results_file(name)
        if path.exists():
            return records_of(Row, read_json(path), path)
        evaluator = self._evaluator(name, models, curves=True)
        rows = evaluate(evaluator)
        evaluator.finish()
        write_json(self._run.curves_file(name), [curve.to_dict() for curve in evaluator.curves()])
        if self._config.evaluation.people:
            write_person_records(self._run.people_file(name), evaluator.person_records())
        content = [row.to_dict() for row in rows]
        write_json(path, content)
        self._report(name, max((row.round for row in rows), default=0), content)
        self._on_method(name)
        return rows

    def _evaluator(self, name: str, models: int, *, curves: bool = False) -> Evaluator:
        work = f"evaluating {name}"
        return Evaluator(self._components, curves=curves, progress=self._reporter, models=models, work=work)

    def _report(self, name: str, number: int, rows: Sequence[Mapping[str, Any]]) -> None:
        seed = self._config.seed
        self._reporter.event({"event": "evaluation", "seed": seed, "method": name, "round": number, "rows": rows})


def evaluate_start(components: RunComponents, start: GenericModel, evaluator: Evaluator) -> list[Row]:
    """Return the rows of a run's starting model."""
    method_run = MethodRun(components, "pretrained", components.folder / "pretrained")
    return evaluate_method_run(method_run, 0, start, evaluator)
