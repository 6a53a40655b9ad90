"""Short ``repr``: one line without contents, names of people or absolute paths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.tiny_experiment import tiny_config, tiny_faces

from fedfr.audit import Case, Finding
from fedfr.audit.face_audit import Audit
from fedfr.core.short_repr import Brief, brief
from fedfr.evaluation import Metric, ScoreCounts
from fedfr.experiments.benchmark import Benchmark
from fedfr.experiments.benchmark_plan import Plan
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.method_run import MethodRun
from fedfr.faces import ClientFaces, FaceSet, PhotographImport, Split, VerificationSet
from fedfr.federation.messages import Broadcast, Update
from fedfr.federation.method import GenericModel
from fedfr.federation.private_state import PrivateState
from fedfr.models import DFC, OpenedModel, Personalized, Preprocessing, build_backbone
from fedfr.results.curve_records import Curve
from fedfr.results.result_rows import Row

SECRET = "person-07"


def objects(folder: Path) -> list[object]:
    faces = tiny_faces()
    run = Experiment.create(tiny_config(folder), folder / "run")
    tensors = {"a": torch.ones(2, 3), "b": torch.ones(2)}
    network = build_backbone("slimface", seed=0)
    case = Case((f"{SECRET}#1",), (SECRET,), ("public",), 0.5, f"looks like {SECRET}")
    many = tuple(range(1000))
    return [
        faces,
        run,
        run.config,
        run.components.split,
        MethodRun(run.components, "fedfr", folder),
        Benchmark(Plan(name="orl", config="quickstart", budget="cpu", methods=("fedavg",), seeds=(0,)), folder / "out"),
        Split(
            "general",
            0,
            "0" * 64,
            many,
            {"client-01": ClientFaces(many, many)},
            many,
            (),
            identities={"public": (SECRET,)},
        ),
        ClientFaces(many, many),
        Row("fedfr", 0, 2, "client-01", "personalized", "personalized-1:1", "TAR@FAR=1e-1", 0.51234567, 45, 1200),
        Metric("TAR@FAR=1e-1", None, 45, 12, 1.2, "rests on 1.2 impostors; at least 10 are needed"),
        Curve("fedfr", 0, 2, "personalized", "personalized-1:1", 3, (None,) * 71, many, many),
        ScoreCounts(np.ones(2001, np.int64), np.ones(2001, np.int64)),
        Audit(70, 14, (Finding("mislabelled", (case,)),)),
        case,
        PhotographImport(faces, 70, (), (SECRET,)),
        VerificationSet(folder / "lfw.bin", (b"image",) * 4, np.ones(2, np.bool_)),
        GenericModel(tensors, torch.ones(4, 512)),
        Broadcast(1, tensors, torch.ones(4, 512)),
        Update(1, "client-01", tensors, torch.ones(4, 512), 30, {"loss/total": 0.5}),
        PrivateState(1, tensors, torch.ones(3, 512)),
        Personalized(network, DFC(3, 512).transform),
        OpenedModel(network, Preprocessing(), "generic"),
    ]


def test_every_public_object_says_what_it_is_in_one_line(tmp_path: Path) -> None:
    for each in objects(tmp_path):
        for shown in (repr(each), str(each)):
            assert shown.startswith(f"{type(each).__name__}("), shown
            assert len(shown) <= 200, shown
            assert "\n" not in shown, shown
            assert SECRET not in shown, shown
            assert str(tmp_path) not in shown, shown
            assert "array(" not in shown, shown
            assert "tensor(" not in shown, shown


@pytest.mark.parametrize(
    "reason",
    [
        "rests on 1.2 impostors; at least 10 are needed",
        "no model: /srv/x/state.safetensors cannot be read and/or is empty; remove it to restart this client",
    ],
)
def test_the_reason_of_a_refusal_is_not_cut(reason: str) -> None:
    expected = reason.replace("/srv/x/", "")
    metric = Metric("TAR@FAR=1e-1", None, 45, 12, 1.2, reason)
    row = Row("fedfr", 0, 2, "client-01", "personalized", "personalized-1:1", "TAR@FAR=1e-1", None, 45, 12, reason)
    assert f"refused='{expected}'" in repr(metric)
    assert f"refused='{expected}'" in repr(row)


@dataclass(frozen=True, repr=False)
class Held(Brief):
    path: Path
    values: tuple[int, ...]
    faces: FaceSet | None = None


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.123456789, "0.1235"),
        (True, "True"),
        ("/home/somebody/faces", "'faces'"),
        ("runs/mine", "'runs/mine'"),
        ("a\nb", "'a\\nb'"),
        ("x" * 100, "'xxxxxxxxxxxxxxxxxxx…xxxxxxxxxxxxxxxxxxxx'"),
        (np.zeros((3, 4), np.float32), "<float32 3×4>"),
        (torch.zeros(2, 5), "<float32 2×5>"),
        ({"one": 1}, "<1 entry>"),
        (Held(Path("/home/somebody/x"), (1, 2)), "Held(path='x', values=<2 entries>)"),
    ],
)
def test_values(value: object, shown: str) -> None:
    assert (repr(value) if isinstance(value, Brief) else brief(value)) == shown
