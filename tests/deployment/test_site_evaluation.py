"""Evaluation of a site's personalized model: equal to that of a run with the same images."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tests.deployment.conftest import Federation
from tests.support.tiny_experiment import tiny_faces
from typer.testing import CliRunner

from fedfr.cli.main import app
from fedfr.config.schema import EvaluationConfig, validate
from fedfr.core.errors import FedfrError
from fedfr.deployment.site import Site
from fedfr.deployment.site_evaluation import evaluate_site
from fedfr.experiments.components import RunComponents
from fedfr.experiments.evaluator import EvaluatedModel, Evaluator
from fedfr.experiments.model_evaluation import evaluate
from fedfr.experiments.model_export import export_model
from fedfr.faces import FaceSet
from fedfr.models import inspect_model, open_model
from fedfr.results.result_rows import Row
from fedfr.training.features import Compute, extract_features
from fedfr.training.training_set import TrainingSet

Make = Callable[..., Federation]
RATES = {"fars": [0.5, 0.1, 0.01], "fpirs": [0.5, 0.1]}
QUICK = ("pretrain.epochs=0", "federation.rounds=1", "method.local.epochs=1")


def trained(made: Federation, client: str) -> Site:
    """The site after the run, with the private state of its client in the local run."""
    made.local.run()
    site = Site.open(made.sites[client] / "site.yaml")
    shutil.copytree(made.local.folder / "clients" / client, site.private)
    return site


def figures(rows: list[Row]) -> list[tuple[str, str, float | None, int, int, str]]:
    return [(row.protocol, row.metric, row.value, row.genuine, row.impostor, row.refused) for row in rows]


def by_the_run(made: Federation, client: str) -> list[Row]:
    """The run's evaluation of this client alone, with the public images as distractors."""
    components = RunComponents(
        made.local.config.model_copy(update={"evaluation": validate(EvaluationConfig, RATES, "test")}),
        made.local.folder,
    )
    split = components.split
    components.__dict__["split"] = replace(split, clients={client: split.clients[client]}, distractors=split.public)
    (method_run, *_) = made.local.method_runs()
    found = method_run.personal_module(client)
    assert found is not None
    evaluator = Evaluator(components, ["personalized-1:1", "personalized-1:N"])
    evaluated = EvaluatedModel(method_run.name, 0, found[0], "personalized")
    return evaluator.personalized(evaluator.features(found[1], client), [client], evaluated)


@pytest.mark.parametrize(
    ("method", "transform"),
    [
        (("method.dfc.transform=bottleneck", "federation.batchnorm=local", "method.prototypes=random"), "bottleneck"),
        ((), "linear"),
        (("method.name=ditto",), "none"),
        (("method.name=fedper", "federation.batchnorm=local"), "none"),
    ],
)
@pytest.mark.slow
def test_a_sites_evaluation_equals_that_of_the_run(
    federation: Make, tmp_path: Path, method: tuple[str, ...], transform: str
) -> None:
    made = federation(*QUICK, *method)
    client = next(iter(made.sites))
    site = trained(made, client)
    rows = evaluate_site(site, settings=RATES)
    assert figures(rows) == figures(by_the_run(made, client))
    assert {(row.client, row.model, row.round) for row in rows} == {(client, "personalized", 1)}
    shown = {row.metric: row for row in rows if row.value is not None}
    assert {"TAR@FAR=1e-1", "rank-1"} <= {*shown}
    # 6 own test images of 3 people, 20 of strangers; every figure says what is behind it, and few are refused.
    assert (shown["TAR@FAR=1e-1"].genuine, shown["TAR@FAR=1e-1"].impostor) == (3, 6 * 5 // 2 - 3 + 6 * 20)
    refused = {row.metric: row.refused for row in rows if row.value is None}
    assert refused["TAR@FAR=1e-2"] == "rests on 1.32 impostors; at least 10 are needed"

    # What is exported is the same model, whose file gives away nobody.
    personal = tmp_path / "personal.safetensors"
    assert site.export(personal) == 1
    with safe_open(str(personal), "np") as file:
        assert not [name for name in file.keys() if "branches" in name or "prototypes" in name]  # noqa: SIM118
    facts = inspect_model(personal)
    assert (facts["role"], facts["transform"], facts["branches"], facts["prototypes"]) == (
        "personalized",
        transform,
        0,
        0,
    )
    opened = open_model(personal)
    training_set, compute = TrainingSet([(site.all_faces, None, 0)]), Compute(opened.preprocessing, torch.device("cpu"))
    model = compute.place(site.personalized()[1])
    features = extract_features(compute.place(opened.network), training_set, compute)
    assert torch.equal(features, extract_features(model, training_set, compute))


def test_an_exported_model_is_evaluated_and_exported(federation: Make, tmp_path: Path) -> None:
    made = federation(*QUICK)
    client = next(iter(made.sites))
    personal, faces = tmp_path / "personal.safetensors", tmp_path / "others"
    trained(made, client).export(personal)
    tiny_faces(12, 4, seed=9).save(faces)
    detail: list[tuple[str, int, int]] = []
    rows = evaluate(personal, faces=faces, progress=Told(detail))
    assert {(row.model, row.protocol) for row in rows} == {
        ("personalized", "generic-1:1"),
        ("personalized", "generic-1:N"),
    }
    assert next(row for row in rows if row.metric == "TAR@FAR=1e-1").genuine == 12 * 4 * 3 // 2
    assert detail[-1] == ("features", 48, 48)
    detail.clear()
    evaluate(made.local.folder, progress=Told(detail))
    assert ("evaluation", 0, 4) in detail, "a step for each model, with the images of each"
    assert detail[-1][0] == "evaluation"
    with pytest.raises(FedfrError, match="use `fedfr site evaluate` at the client's site"):
        evaluate(personal, faces=faces, protocols=["personalized-1:1"])
    (file,) = export_model(personal, tmp_path / "plain.pth", "state-dict").private
    names = torch.load(file, weights_only=True).keys()
    assert {name.rpartition(".")[0] for name in names if name.startswith("dfc")} == {"dfc.transform"}
    with pytest.raises(FedfrError, match="which the file of a personalized model does not contain; export"):
        export_model(personal, tmp_path / "released", "released")
    assert not (tmp_path / "released").exists()


class Told:
    """Records the updates of progress."""

    def __init__(self, updates: list[tuple[str, int, int]]) -> None:
        self.updates = updates

    def update(self, work: str, done: int, total: int, detail: str = "", unit: str = "") -> None:
        self.updates.append((work, done, total))

    def note(self, text: str) -> None:
        pass

    def event(self, event: object) -> None:
        pass


def test_the_command_and_its_errors(federation: Make, tmp_path: Path) -> None:
    made = federation(*QUICK)
    client = next(iter(made.sites))
    folder = made.sites[client]
    run = CliRunner()
    ask = ["site", "evaluate", str(folder), "--set", "fars=[0.1]", "--protocol", "personalized-1:1"]
    with pytest.raises(FedfrError, match=f"{client} has not taken part in a round of remote yet"):
        run.invoke(app, ask, catch_exceptions=False)
    site = trained(made, client)
    (row,) = json.loads(run.invoke(app, [*ask, "--json"], catch_exceptions=False).stdout)
    assert (row["metric"], row["genuine"], row["impostor"]) == ("TAR@FAR=1e-1", 3, 132)
    assert " 100.0 " in run.invoke(app, ask, catch_exceptions=False).stdout.replace("(", " (")
    with pytest.raises(FedfrError, match="generic-1:1 does not evaluate a client's own identities"):
        evaluate_site(site, protocols=["generic-1:1"])
    FaceSet(site.all_faces.images(range(2)), [0, 1], ["x", "y"]).save(tmp_path / "same")
    with pytest.raises(FedfrError, match="an image of this site is among the strangers"):
        evaluate_site(site, strangers=tmp_path / "same")
    shutil.rmtree(folder / "public")
    with pytest.raises(FedfrError, match="give --strangers FACES"):
        evaluate_site(Site.open(folder / "site.yaml"))
