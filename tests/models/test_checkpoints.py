"""Training checkpoints of other projects: the backbone is found, and other entries are reported."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fedfr.core.errors import FedfrError
from fedfr.models import (
    BACKBONES,
    UserPreprocessing,
    backbone_of,
    build_backbone,
    import_weights,
    inspect_model,
    load_backbone,
    load_foreign,
    load_weights,
    open_model,
)

NAME = "slimface"
STATE: dict[str, Tensor] = build_backbone(NAME, seed=3).state_dict()
OTHER: dict[str, Tensor] = build_backbone(NAME, seed=4).state_dict()
HEAD = {"head.weight": torch.ones(7, 512)}
HEADS = {"fc.weight": torch.ones(7, 512), "loss.kernel": torch.ones(512, 7)}


def under(prefix: str, state: dict[str, Tensor] = STATE) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def is_state(given: dict[str, Tensor], wanted: dict[str, Tensor] = STATE) -> bool:
    return given.keys() == wanted.keys() and all(torch.equal(given[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    ("content", "entry", "left"),
    [
        (under("model."), "model", ()),
        (under("encoder."), "encoder", ()),
        (under("module.model.backbone."), "module.model.backbone", ()),
        (STATE | HEAD, "", ("head.weight",)),
        (HEADS | under("backbone."), "backbone", tuple(HEADS)),
        ({"state_dict": under("model.net.") | HEAD, "epoch": 3}, "state_dict.model.net", ("head.weight",)),
        ({"epoch": 1, "state_dict_backbone": STATE, "state_dict_softmax_fc": HEADS}, "state_dict_backbone", ()),
        ({"net": STATE, "acc": 0.9}, "net", ()),
        ({"checkpoint": {"weights": under("trunk.")}}, "checkpoint.weights.trunk", ()),
        ({"models": [{"a": torch.ones(2)}, STATE]}, "models.1", ()),
        ((STATE, {"epoch": 3}), "0", ()),
        (under("module.") | {"n_averaged": torch.tensor(3)}, "module", ("n_averaged",)),
        ({"ema_state_dict": STATE}, "ema_state_dict", ()),
        (under("_orig_mod."), "", ()),
        ({f"stages._orig_mod.{name[7:]}" if name[:7] == "stages." else name: STATE[name] for name in STATE}, "", ()),
        ({"model": STATE, "optimizer": {"state": under("", OTHER)}}, "model", ()),
    ],
)
def test_the_backbone_is_found(tmp_path: Path, content: Any, entry: str, left: tuple[str, ...]) -> None:
    path = saved(tmp_path / "w.pth", content)
    found = load_backbone(path)
    assert (found.name, found.entry, found.unused, found.alternatives) == (NAME, entry, left, ())
    assert is_state(found.state)
    assert is_state(load_foreign(path))
    assert backbone_of(path) == NAME
    facts = inspect_model(path)
    assert (facts["backbone"], facts.get("backbone_at", ""), tuple(facts.get("left_out", ()))) == (NAME, entry, left)
    assert all(name in open_model(path).assumed for name in left)


def test_averaged_weights_are_reported_and_chosen_by_name(tmp_path: Path) -> None:
    for plain, average, content in (
        ("state_dict", "ema_state_dict", {"ema_state_dict": OTHER, "state_dict": STATE}),
        ("model", "ema.module", {"ema": {"module": OTHER}, "model": STATE}),
        ("state_dict.model", "state_dict.model_ema", {"state_dict": under("model_ema.", OTHER) | under("model.")}),
    ):
        path = saved(tmp_path / "w.pth", content)
        found = load_backbone(path)
        assert (found.entry, found.alternatives) == (plain, (average,))
        assert is_state(found.state)
        assert f"also there: '{average}'; select one with --entry" in open_model(path).assumed
        assert is_state(load_backbone(path, entry=average).state, OTHER)
        made = import_weights(path, tmp_path / "m.safetensors", user_preprocessing=UserPreprocessing(entry=average))
        assert is_state(load_foreign(made.path), OTHER)
        made.path.unlink()


def test_several_backbones_need_a_choice(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", {"student": STATE, "teacher": OTHER})
    with pytest.raises(FedfrError, match=r"contains 2 backbones .*'student', 'teacher'\); name one with --entry"):
        open_model(path)
    with pytest.raises(FedfrError, match=r"--entry is 'techer', which matches no backbones; available: 'student'"):
        open_model(path, UserPreprocessing(entry="techer"))
    assert is_state(load_backbone(path, entry="teacher").state, OTHER)
    same = saved(
        tmp_path / "same.pth", {"model": STATE, "best": {name: value.clone() for name, value in STATE.items()}}
    )
    assert load_backbone(same).entry == "model", "the same weights twice are one backbone"


def test_a_deeper_network_is_not_taken_for_a_shallower_one(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in BACKBONES["iresnet18"].factory().state_dict().items()}
    deeper = {name: torch.zeros(shape) for name, shape in shapes.items()} | {"layer4.2.bn1.weight": torch.ones(512)}
    with pytest.raises(FedfrError, match=r"nearest is 'iresnet18', but layer4\.2\.bn1\.weight is unknown"):
        load_backbone(saved(tmp_path / "w.pth", deeper))


def test_half_precision(tmp_path: Path) -> None:
    for kind in (torch.float16, torch.bfloat16, torch.float8_e4m3fn):
        state = {name: value.to(kind) if value.is_floating_point() else value for name, value in STATE.items()}
        loaded = open_model(saved(tmp_path / "w.pth", {"model": state})).network.state_dict()
        assert all(torch.equal(value, state[name].to(value.dtype)) for name, value in loaded.items())


def test_safetensors_from_elsewhere(tmp_path: Path) -> None:
    save_file(under("backbone.") | HEADS, tmp_path / "w.safetensors")
    opened = open_model(tmp_path / "w.safetensors")
    assert is_state(opened.network.state_dict())
    assert "left out: fc.weight, loss.kernel" in opened.assumed


def quantized(kind: str) -> tuple[dict[str, Any], str]:
    """A state dict with quantized weights, and the entry that tells."""
    first = next(iter(STATE))
    with warnings.catch_warnings():
        # PyTorch means to drop what existing files are full of.
        warnings.simplefilter("ignore")
        if kind == "dynamic":
            module = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 4)), {nn.Linear})
            return module.state_dict(), "0.zero_point"
        if kind == "tensor":
            return {"conv": torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8)}, "conv"
    if kind == "int8":
        return {name: value.to(torch.int8) for name, value in STATE.items()}, first
    return STATE | {"stages.0.0.zero_point": torch.tensor(0)}, "stages.0.0.zero_point"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["dynamic", "tensor", "int8", "qat"])
def test_quantized_weights_are_named_as_such(tmp_path: Path, kind: str) -> None:
    content, entry = quantized(kind)
    path = saved(tmp_path / "w.pth", content)
    with pytest.raises(FedfrError, match=rf"w\.pth are quantized \({entry} is .*\); allowed are float32, ") as caught:
        open_model(path)
    assert "\n" not in str(caught.value)
    try:
        told = inspect_model(path)["why"]
    except FedfrError as error:
        told = str(error)
    assert f"are quantized ({entry} is" in told


def test_integers_never_become_weights() -> None:
    module = build_backbone(NAME, seed=0)
    with pytest.raises(FedfrError, match=r"is torch\.int8, not floats"):
        load_weights(module, {name: value.to(torch.int8) for name, value in STATE.items()})


@pytest.mark.filterwarnings("ignore")
def test_a_module_or_a_program_is_refused_with_what_to_do(tmp_path: Path) -> None:
    advice = r"load it with the code that wrote it and save only the weights: torch\.save\(model\.state_dict\(\)"
    with pytest.raises(FedfrError, match=rf"it contains torch\.nn\.modules\.linear\.Linear; .*{advice}"):
        open_model(saved(tmp_path / "module.pth", nn.Linear(2, 2)))
    torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save(str(tmp_path / "program.pt"))
    with pytest.raises(FedfrError, match=rf"it is a TorchScript archive, .*{advice}"):
        open_model(tmp_path / "program.pt")


def test_insightfaces_own_mobilefacenet(models_dir: Path, tmp_path: Path) -> None:
    path = models_dir / "mobilefacenet_y1_128.pth"
    opened = open_model(path)
    assert backbone_of(path) == "mobilefacenet-128"
    assert opened.preprocessing == BACKBONES["mobilefacenet-128"].preprocessing
    assert opened.preprocessing.describe().endswith("RGB; (x − 127.5) / 128")
    theirs = torch.load(path, "cpu", weights_only=True)
    assert {name: tuple(value.shape) for name, value in opened.network.state_dict().items()} == {
        name: tuple(value.shape) for name, value in theirs.items()
    }
    assert tuple(theirs["linear7.conv.weight"].shape) == (512, 1, 7, 7)
    ramp = torch.linspace(-1, 1, 3 * 112 * 112).view(1, 3, 112, 112)
    with torch.no_grad():
        feature = opened.network.eval()(ramp)[0]
    assert feature.shape == (128,)
    torch.testing.assert_close(feature[:4], torch.tensor(PINNED), rtol=1e-3, atol=1e-4)


# Computed once with this network and these weights.
PINNED = [0.30375, 0.08547, 0.44902, 0.23301]
