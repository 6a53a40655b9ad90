"""Invalid input concerning models; the expected errors are in ``messages.yaml``."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch
from tests.support.bad_input import Case, Given, collector, cut

from fedfr.models import Preprocessing, build_backbone, load_model, save_model

__all__ = ["CASES"]

CASES: list[Case] = []
case = collector(CASES)


@case
def start_missing(given: Given) -> list[str]:
    return given.train(f"model.start={given.place / 'none.pth'}")


@case
def start_of_another_backbone(given: Given) -> list[str]:
    torch.save(build_backbone("mobilefacenet", 0).state_dict(), given.place / "m.pth")
    return given.train(f"model.start={given.place / 'm.pth'}")


@case
def start_cut_short(given: Given) -> list[str]:
    torch.save(build_backbone("slimface-small", 0).state_dict(), given.place / "m.pth")
    cut(given.place / "m.pth", 0.5)
    return given.train(f"model.start={given.place / 'm.pth'}")


class Malicious:
    """Unpickling it writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return (open, (str(self.target), "w"))


@case
def start_that_runs_code(given: Given) -> list[str]:
    (given.place / "m.pth").write_bytes(pickle.dumps({"weight": Malicious(given.place / "owned")}))
    return given.train(f"model.start={given.place / 'm.pth'}")


@case
def start_with_nan(given: Given) -> list[str]:
    state = build_backbone("slimface-small", 0).state_dict()
    state["fc.weight"][3, 4] = torch.nan
    torch.save(state, given.place / "m.pth")
    return given.train(f"model.start={given.place / 'm.pth'}")


@case
def model_cut_short(given: Given) -> list[str]:
    cut(given.run / "generic.safetensors", 0.9)
    return ["evaluate", str(given.run / "generic.safetensors"), "--faces", str(given.faceset)]


@case
def model_without_contract(given: Given) -> list[str]:
    safetensors.torch.save_file({"w": torch.ones(1)}, str(given.place / "m.safetensors"))
    return ["evaluate", str(given.place / "m.safetensors"), "--faces", str(given.faceset)]


@case
def model_of_a_stated_input(given: Given) -> list[str]:
    return ["evaluate", str(given.run / "generic.safetensors"), "--faces", str(given.faceset), "--colour", "BGR"]


@case
def stated_input_for_a_run(given: Given) -> list[str]:
    return ["evaluate", str(given.run), "--mean", "0", "--std", "1"]


@case
def graph_that_is_none(given: Given) -> list[str]:
    (given.place / "m.onnx").write_bytes(b"no graph at all")
    return ["evaluate", str(given.place / "m.onnx"), "--faces", str(given.faceset)]


@case
def import_over_a_model(given: Given) -> list[str]:
    torch.save(build_backbone("slimface-small", 0).state_dict(), given.place / "m.pth")
    return ["models", "import", str(given.place / "m.pth"), str(given.run / "generic.safetensors")]


@case
def import_of_another_backbone(given: Given) -> list[str]:
    state = build_backbone("slimface-small", 0).state_dict()
    del state["fc.weight"]
    torch.save(state | {"head.weight": torch.ones(2)}, given.place / "m.pth")
    return ["models", "import", str(given.place / "m.pth"), str(given.place / "m.safetensors")]


@case
def import_that_runs_code(given: Given) -> list[str]:
    (given.place / "m.pth").write_bytes(pickle.dumps({"weight": Malicious(given.place / "owned")}))
    return ["models", "import", str(given.place / "m.pth"), str(given.place / "m.safetensors")]


@case
def export_over_files(given: Given) -> list[str]:
    return ["models", "export", str(given.run), str(given.faceset), "--layout", "released"]


@case
def export_of_a_method_that_did_not_run(given: Given) -> list[str]:
    return ["models", "export", str(given.run), str(given.place / "m.pth"), "--method", "ditto"]


@case
def export_of_a_damaged_private_state(given: Given) -> list[str]:
    cut(given.run / "clients" / "client-02" / "private-000001.safetensors", 0.5)
    return ["models", "export", str(given.run), str(given.place / "out"), "--layout", "released"]


@case
def export_of_weights_of_others(given: Given) -> list[str]:
    torch.save(build_backbone("slimface-small", 0).state_dict(), given.place / "m.pth")
    return ["models", "export", str(given.place / "m.pth"), str(given.place / "n.pth")]


@case
def model_of_another_input_to_start_from(given: Given) -> list[str]:
    tensors, contract = load_model(given.run / "generic.safetensors")
    other = replace(contract, preprocessing=Preprocessing(colour="BGR"))
    save_model(given.place / "bgr.safetensors", tensors, other)
    return given.train(f"model.start={given.place / 'bgr.safetensors'}")


@case
def model_without_faces(given: Given) -> list[str]:
    return ["evaluate", str(given.run / "generic.safetensors")]


@case
def personal_model_as_the_start(given: Given) -> list[str]:
    model = given.run / "clients" / "client-01" / "personal.safetensors"
    settings = [f"faces.path={given.faceset}", *given.settings, f"model.start={model}"]
    return ["train", "quickstart", "--out", str(given.place / "new"), *(x for s in settings for x in ("--set", s))]


@case
def personal_protocol_for_a_model(given: Given) -> list[str]:
    model = given.run / "generic.safetensors"
    return ["evaluate", str(model), "--faces", str(given.faceset), "--protocol", "personalized-1:1"]


@case
def faces_for_a_run(given: Given) -> list[str]:
    return ["evaluate", str(given.run), "--faces", str(given.faceset)]


@case
def unknown_protocol(given: Given) -> list[str]:
    return ["evaluate", str(given.run), "--protocol", "generic-1:n"]
