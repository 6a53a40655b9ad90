"""``fedfr models`` and evaluation of third-party models: output, and the exported parts of a run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tests.cli.conftest import Fedfr, answered
from tests.cli.test_commands import content
from tests.support.tiny_experiment import SETTINGS, tiny_faces

from fedfr.config.schema import load_config
from fedfr.experiments.experiment import Experiment
from fedfr.federation.private_state import PrivateState
from fedfr.federation.private_store import PrivateStore
from fedfr.models import foreign_dfc_entries, load_model

# A run writes its clients' models without what serves training alone.
TRAINING_ONLY = ("private_prototypes", "dfc.branches")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, faceset: Path) -> Path:
    """A finished run: FedFR, and a method without generic model and DFC module."""
    folder = tmp_path_factory.mktemp("runs") / "a rün"
    more = [f"faces.path={faceset}", "federation.rounds=1", "baselines=[local]"]
    Experiment.create(load_config(None, [*SETTINGS, "model.backbone=slimface-small", *more]), folder).run()
    return folder


def loaded(path: Path) -> dict[str, torch.Tensor]:
    state = torch.load(path, weights_only=True)
    return {"": state} if isinstance(state, torch.Tensor) else state


def equal(mine: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def kept(folder: Path, client: str) -> PrivateState:
    state = PrivateStore(folder / "clients" / client, client).latest()
    assert state is not None
    return state


@pytest.mark.slow
def test_a_run_is_exported_in_the_released_layout_and_imported(run: Path, fedfr: Fedfr, tmp_path: Path) -> None:
    before = content(run)
    out = tmp_path / "out"
    answer = answered(fedfr("models", "export", run, out, "--layout", "released", "--json"))
    assert sorted(answer["files"]) == sorted(str(out / name) for name in content(out))
    assert set(answer["private"]) == {str(out / name) for name in content(out) if name.startswith("clients/")}
    assert content(run) == before
    tensors, _ = load_model(run / "generic.safetensors")
    assert equal(loaded(out / "fc.pth"), {"": tensors.pop("public_prototypes")})
    assert equal(loaded(out / "backbone.pth"), tensors)
    for number, client in enumerate(("client-01", "client-02")):
        folder, state = out / "clients" / f"client_{number}", kept(run, client)
        assert equal(loaded(folder / "backbone.pth"), dict(state.backbone))
        assert equal(loaded(folder / "bce_module.pth"), foreign_dfc_entries(state.dfc))
        assert equal(loaded(folder / "fc.pth"), {"": state.prototypes})
        own = tmp_path / f"{client}.safetensors"
        assert answered(fedfr("models", "import", folder, own, "--json"))["role"] == "personalized"
        mine, contract = load_model(own)
        theirs, expected = load_model(run / "clients" / client / "personal.safetensors")
        assert contract == expected, "it is the run's personalized model, embedding space included"
        assert equal({name: value for name, value in mine.items() if not name.startswith(TRAINING_ONLY)}, theirs)
        again = fedfr("models", "export", own, tmp_path / client, "--layout", "released")
        assert "3 of these files are private to clients" in again.out
        assert content(tmp_path / client) == content(folder)


def test_an_export_without_the_clients(run: Path, fedfr: Fedfr, tmp_path: Path) -> None:
    answer = answered(fedfr("models", "export", run, tmp_path / "o", "--layout", "released", "--no-clients", "--json"))
    assert sorted(content(tmp_path / "o")) == ["backbone.pth", "fc.pth"]
    assert answer["private"] == []


def test_a_method_without_a_generic_model(run: Path, fedfr: Fedfr, tmp_path: Path) -> None:
    local = ["--method", "local"]
    assert fedfr("models", "export", run, tmp_path / "local", "--layout", "released", *local).code == 0
    assert not (tmp_path / "local" / "backbone.pth").exists()
    folder, state = tmp_path / "local" / "clients" / "client_0", kept(run / "baselines" / "local", "client-01")
    assert sorted(content(folder)) == ["backbone.pth", "fc.pth"], "and no DFC module"
    assert equal(loaded(folder / "backbone.pth"), dict(state.backbone))
    refused = fedfr("models", "export", run, tmp_path / "local.pth", *local)
    assert refused.err.startswith(f"fedfr: {run} has no generic model under this method; export a client's personal")


def test_states_of_unfinished_rounds_are_not_exported(run: Path, fedfr: Fedfr, tmp_path: Path) -> None:
    """A private state of an unfinished round is not exported."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    state = kept(copy, "client-01")
    ahead = PrivateState(2, state.backbone, torch.zeros_like(state.prototypes), state.dfc)
    PrivateStore(copy / "clients" / "client-01", "client-01").save(ahead)
    shutil.rmtree(copy / "clients" / "client-02")
    before = content(copy)
    assert fedfr("models", "export", copy, tmp_path / "out", "--layout", "released").code == 0
    assert content(copy) == before, "nothing is discarded either"
    assert equal(loaded(tmp_path / "out" / "clients" / "client_0" / "fc.pth"), {"": state.prototypes})
    assert not (tmp_path / "out" / "clients" / "client_1").exists(), "it never took part"


def test_a_state_dict_is_exported_and_imported(run: Path, fedfr: Fedfr, tmp_path: Path) -> None:
    model, weights = tmp_path / "mödel.safetensors", tmp_path / "weights.pth"
    answer = fedfr("models", "export", run, weights)
    assert (answer.code, answer.out) == (0, f"{weights}\n")
    answer = fedfr("models", "import", weights, model)
    assert answer.code == 0
    for expected in (
        f"{weights} holds slimface-small: names and shapes of all 48 entries match the backbone",
        "generic, 128 values of a face",
        "RGB; (x − 127.5) / 127.5 – assumed from fedfr's own training",
        f"To check: fedfr evaluate {model} --faces FACES",
    ):
        assert expected in answer.out
    tensors, contract = load_model(run / "generic.safetensors")
    tensors.pop("public_prototypes")
    mine, again = load_model(model)
    assert again == contract
    assert equal(mine, tensors)


def test_a_run_is_exported_as_onnx_with_its_contract(run: Path, fedfr: Fedfr, faceset: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    graph = tmp_path / "m.onnx"
    for options, message in (
        (["--layout", "onnx", "--calibration", faceset], "--calibration is for the layout onnx-int8, not onnx"),
        (["--layout", "onnx-int8"], "the layout onnx-int8 needs faces to calibrate with: --calibration FACES"),
        (["--layout", "onnx-int8", "--calibration", tmp_path / "none"], "none"),
    ):
        refused = fedfr("models", "export", run, graph, *options)
        assert (refused.code, refused.err.count("\n")) == (2, 1)
        assert message in refused.err
    assert list(tmp_path.iterdir()) == []
    answer = fedfr("models", "export", run, graph, "--layout", "onnx")
    assert (answer.code, answer.out, answer.err) == (0, f"{graph}\n", "")
    told = answered(fedfr("models", "info", graph, "--json"))
    _, contract = load_model(run / "generic.safetensors")
    assert (told["embedding_space"], told["input"]) == (contract.embedding_space, contract.preprocessing.describe())
    faces = ["--faces", faceset, "--json"]
    evaluated = answered(fedfr("evaluate", graph, *faces))
    assert evaluated == answered(fedfr("evaluate", run / "generic.safetensors", *faces))


def test_third_party_weights_are_evaluated_directly(run: Path, fedfr: Fedfr, tmp_path: Path) -> None:
    weights, bgr, hard = tmp_path / "weights.pth", tmp_path / "bgr.safetensors", tmp_path / "hard"
    tiny_faces(alike=0.9).save(hard)
    assert fedfr("models", "export", run, weights).code == 0
    faces = ["--faces", hard, "--json"]
    answer = fedfr("evaluate", weights, *faces)
    assert answered(answer) == answered(fedfr("evaluate", run / "generic.safetensors", *faces))
    assert f"{weights} contains slimface-small; input: 112×112 crops" in answer.err
    assert "change it with --colour, --mean, --std" in answer.err
    stated = ["--colour", "BGR", "--std", "40"]
    other = answered(fedfr("evaluate", weights, *faces, *stated))
    assert other != answered(answer), "colour and scaling reach the network"
    assert answered(fedfr("models", "import", weights, bgr, *stated, "--json"))["stated"] == ["colour", "std"]
    assert answered(fedfr("evaluate", bgr, *faces)) == other, "the contract keeps what was stated"


def test_a_run_starts_from_a_model_of_the_released_code(run: Path, fedfr: Fedfr, faceset: Path, tmp_path: Path) -> None:
    """Its public prototypes are recomputed for the run's own public faces."""
    assert fedfr("models", "export", run, tmp_path / "o", "--layout", "released").code == 0
    start = tmp_path / "start.safetensors"
    assert answered(fedfr("models", "import", tmp_path / "o", start, "--json"))["identities"] == 4
    config = load_config(
        None, [*SETTINGS, "model.backbone=slimface-small", f"faces.path={faceset}", f"model.start={start}"]
    )
    backbone = Experiment.create(config, tmp_path / "new").components.initial_backbone()
    assert equal(backbone.state_dict(), loaded(tmp_path / "o" / "backbone.pth"))


def test_an_onnx_graph_is_evaluated(run: Path, fedfr: Fedfr, faceset: Path, tmp_path: Path) -> None:
    """The run's own generic model through PyTorch's exporter gives the run's metrics."""
    from tests.models.test_onnx_model import exported

    from fedfr.models import open_model

    model = run / "generic.safetensors"
    graph = exported(tmp_path / "gräph.onnx", open_model(model).network)
    answer = fedfr("evaluate", graph, "--faces", faceset, "--json")
    assert "features: 70/70" in answer.err
    assert answered(answer) == answered(fedfr("evaluate", model, "--faces", faceset, "--json"))
    assert f"{graph} returns 128 values per face; input: 112×112 crops aligned to arcface-112; RGB" in answer.err


def test_info_about_models(run: Path, fedfr: Fedfr, tmp_path: Path) -> None:
    assert fedfr("models", "export", run, tmp_path / "o", "--layout", "released").code == 0
    client = tmp_path / "o" / "clients" / "client_0"
    kinds = {
        run / "generic.safetensors": ("model of fedfr", "slimface-small", "its contract"),
        client / "backbone.pth": ("weights", "slimface-small", "assumed from fedfr's own training"),
        client / "bce_module.pth": ("DFC module", None, None),
        client / "fc.pth": ("prototypes", None, None),
    }
    for path, expected in kinds.items():
        facts = answered(fedfr("models", "info", path, "--json"))
        assert (facts["kind"], facts.get("backbone"), facts.get("input_known_from")) == expected
        text = fedfr("models", "info", path).out
        assert all(str(value) in text for value in facts.values())
    assert answered(fedfr("models", "info", client / "fc.pth", "--json"))["prototypes"] == 3
    torch.save({"w": torch.ones(2)}, tmp_path / "w.pth")
    facts = answered(fedfr("models", "info", tmp_path / "w.pth", "--json"))
    assert facts["backbone"] is None
    assert "nearest is" in facts["why"]


def test_help_names_the_private_parts(fedfr: Fedfr) -> None:
    for command in ("models", "models import", "models info"):
        assert "Usage" in fedfr(*command.split(), "--help").out
    text = " ".join(fedfr("models", "export", "--help").out.split())
    assert "and leave a site only through this command" in text
