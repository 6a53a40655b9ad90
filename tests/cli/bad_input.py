"""Kinds of bad input: what is prepared, what is asked, and the one line that answers."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import safetensors.torch
import torch
import yaml
from tests.tiny import tiny_faces

from fedfr.faces.recordio.writer import write_faces_file
from fedfr.models import Preprocessing, build_backbone, load_model, save_model

__all__ = ["CASES", "Case", "Given"]

BASE = ["public_identities=4", "clients=2", "identities_per_client=3", "test_count=2", "min_images=4"]


@dataclass(frozen=True)
class Given:
    """What a case may use: ``place`` is its own, the others are copies it may spoil."""

    place: Path
    run: Path
    faceset: Path
    settings: Sequence[str]

    def train(self, *overrides: str, config: str | Path | None = None, faces: Path | None = None) -> list[str]:
        """A train command over the face set with more ``--set``."""
        if config is None:
            config = self.place / "run.yaml"
            config.write_text("{}\n", encoding="utf-8")
        wanted = [*self.settings, f"faces.path={self.faceset if faces is None else faces}", *overrides]
        sets = [part for override in wanted for part in ("--set", override)]
        return ["train", str(config), "--out", str(self.place / "new run"), *sets]

    def split(self, *overrides: str) -> list[str]:
        """A split command."""
        sets = [part for override in (*BASE, *overrides) for part in ("--set", override)]
        return ["faces", "split", str(self.faceset), str(self.place / "split.json"), *sets]

    def picture(self, *names: str) -> Path:
        """Pictures of random colours below ``place/people``."""
        for number, name in enumerate(names):
            path = self.place / "people" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            image = np.random.default_rng(number).integers(0, 255, (112, 112, 3), dtype=np.uint8)
            assert cv2.imwrite(str(path), image)
        return self.place / "people"


@dataclass(frozen=True)
class Case:
    """``message`` may use {place}, {run}, {faceset}; ``prepare`` returns the arguments."""

    name: str
    message: str
    prepare: Callable[[Given], list[str]]


CASES: list[Case] = []
MESSAGES: dict[str, str] = yaml.safe_load(Path(__file__).with_name("messages.yaml").read_text(encoding="utf-8"))


def case(prepare: Callable[[Given], list[str]]) -> Callable[[Given], list[str]]:
    """Register a preparation under its function's name; its line stands in ``messages.yaml``."""
    CASES.append(Case(prepare.__name__, MESSAGES[prepare.__name__], prepare))
    return prepare


def cut(path: Path, keep: float) -> None:
    """Truncate to a share of its length."""
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])


# Configuration


@case
def missing_configuration(given: Given) -> list[str]:
    return given.train(config=given.place / "none.yaml")


@case
def configuration_cut_short(given: Given) -> list[str]:
    path = given.place / "cut.yaml"
    path.write_text("local: {epochs: 3, batch", encoding="utf-8")
    return given.train(config=path)


@case
def unknown_setting(given: Given) -> list[str]:
    return given.train("local.learning_rat=0.1")


@case
def value_out_of_range(given: Given) -> list[str]:
    return given.train("federation.participation=2")


@case
def value_of_another_type(given: Given) -> list[str]:
    return given.train("federation.rounds=many")


@case
def number_where_a_word_would_do(given: Given) -> list[str]:
    return given.train("local.epochs=0")


@case
def method_without_name(given: Given) -> list[str]:
    return given.train("method=fedavg")


@case
def baselines_not_in_a_list(given: Given) -> list[str]:
    return given.train("baselines=local")


@case
def rates_not_in_a_list(given: Given) -> list[str]:
    return given.train("evaluation.fars=0.1")


@case
def no_rates(given: Given) -> list[str]:
    return given.train("evaluation.fars=[]")


@case
def rate_twice(given: Given) -> list[str]:
    return given.train("evaluation.fpirs=[0.1, 0.1]")


@case
def decay_before_the_first_epoch(given: Given) -> list[str]:
    return given.train("pretrain.decay_epochs=[-1]")


@case
def setting_of_another_method(given: Given) -> list[str]:
    return given.train("method.name=fedavg", "method.dfc.power=2")


@case
def malformed_set(given: Given) -> list[str]:
    return given.train("rounds")


@case
def unknown_method(given: Given) -> list[str]:
    return given.train("method.name=fedrf")


@case
def unknown_setting_of_the_method(given: Given) -> list[str]:
    return given.train("method.dfc.scal=3")


@case
def unknown_baseline(given: Given) -> list[str]:
    return given.train("baselines=[locale]")


@case
def unknown_backbone(given: Given) -> list[str]:
    return given.train("model.backbone=iresnet51")


@case
def unknown_recipe(given: Given) -> list[str]:
    return given.train("split.recipe=lfw")


@case
def unknown_setting_of_the_recipe(given: Given) -> list[str]:
    return given.train("split.settings.client=3")


@case
def unknown_source(given: Given) -> list[str]:
    wanted = [override for override in given.settings if not override.startswith("faces")]
    sets = [part for override in (*wanted, "faces.source=lfw") for part in ("--set", override)]
    return ["train", "quickstart", "--out", str(given.place / "new run"), *sets]


@case
def device_that_is_not_there(given: Given) -> list[str]:
    return given.train("runtime.device=cuda:7")


# Where a run is to lie


@case
def folder_in_use(given: Given) -> list[str]:
    (given.place / "new run").mkdir()
    (given.place / "new run" / "thesis.tex").write_text("x", encoding="utf-8")
    return given.train()


@case
def run_already_there(given: Given) -> list[str]:
    return ["train", "quickstart", "--out", str(given.run)]


@case
def out_below_a_file(given: Given) -> list[str]:
    (given.place / "file").write_text("x", encoding="utf-8")
    arguments = given.train()
    return [str(given.place / "file" / "run") if part == str(given.place / "new run") else part for part in arguments]


@case
def resume_of_nothing(given: Given) -> list[str]:
    return ["resume", str(given.place / "no run")]


# Faces


@case
def no_faces_named(given: Given) -> list[str]:
    return ["train", "lfw-fed", "--out", str(given.place / "new run")]


@case
def faces_folder_missing(given: Given) -> list[str]:
    return given.train(faces=given.place / "nobody")


@case
def faces_folder_empty(given: Given) -> list[str]:
    (given.place / "people").mkdir()
    return given.train(faces=given.place / "people")


@case
def faces_folder_without_identities(given: Given) -> list[str]:
    people = given.picture("anna/1.png")
    shutil.move(str(people / "anna" / "1.png"), str(people / "1.png"))
    (people / "anna").rmdir()
    return ["faces", "import", str(people), str(given.place / "set")]


@case
def faces_are_a_file(given: Given) -> list[str]:
    people = given.picture("anna/1.png")
    return ["faces", "import", str(people / "anna" / "1.png"), str(given.place / "set")]


@case
def picture_cut_short(given: Given) -> list[str]:
    people = given.picture("anna/1.png", "bo/1.png")
    cut(people / "bo" / "1.png", 0.5)
    return ["faces", "import", str(people), str(given.place / "set")]


@case
def picture_of_no_bytes(given: Given) -> list[str]:
    people = given.picture("anna/1.jpg")
    (people / "anna" / "2.jpg").touch()
    return ["faces", "import", str(people), str(given.place / "set")]


@case
def text_called_jpg(given: Given) -> list[str]:
    people = given.picture("anna/1.jpg")
    (people / "anna" / "2.jpg").write_text("not a picture", encoding="utf-8")
    return ["faces", "import", str(people), str(given.place / "set")]


@case
def import_over_other_files(given: Given) -> list[str]:
    people = given.picture("anna/1.png")
    (given.place / "set").mkdir()
    (given.place / "set" / "diary.txt").write_text("x", encoding="utf-8")
    return ["faces", "import", str(people), str(given.place / "set")]


@case
def import_over_another_import(given: Given) -> list[str]:
    return ["faces", "import", str(given.picture("anna/1.png")), str(given.faceset)]


@case
def records_of_another_kind(given: Given) -> list[str]:
    (given.place / "train.rec").write_text("not records", encoding="utf-8")
    return ["faces", "import", str(given.place / "train.rec"), str(given.place / "set")]


@case
def records_cut_short(given: Given) -> list[str]:
    write_faces_file(given.place / "train.rec", [(0, bytes(100)), (1, bytes(100))], 2)
    cut(given.place / "train.rec", 0.5)
    (given.place / "train.idx").unlink()
    return ["faces", "import", str(given.place), str(given.place / "set"), "--link"]


@case
def records_that_are_a_folder(given: Given) -> list[str]:
    sets = ("faces.source=recordio", f"faces.path={given.place}")
    return given.train(*sets)


@case
def skipping_records_of_a_folder(given: Given) -> list[str]:
    return ["faces", "import", str(given.picture("anna/1.png")), str(given.place / "set"), "--skip-bad"]


@case
def export_of_pixels_as_kept_pictures(given: Given) -> list[str]:
    out = str(given.place / "out")
    return ["faces", "export-recordio", str(given.faceset), str(given.run / "split.json"), out, "--pictures", "kept"]


@case
def export_over_other_files(given: Given) -> list[str]:
    return ["faces", "export-recordio", str(given.faceset), str(given.run / "split.json"), str(given.run)]


@case
def sheet_over_a_file(given: Given) -> list[str]:
    (given.place / "sheet.png").write_text("x", encoding="utf-8")
    return ["faces", "show", str(given.faceset), "--out", str(given.place / "sheet.png")]


@case
def face_set_cut_short(given: Given) -> list[str]:
    cut(given.faceset / "pixels.npy", 0.7)
    return given.train()


@case
def face_set_of_another_size(given: Given) -> list[str]:
    np.save(given.faceset / "pixels.npy", np.zeros((70, 96, 112, 3), np.uint8))
    return ["faces", "info", str(given.faceset)]


@case
def face_set_without_description(given: Given) -> list[str]:
    (given.faceset / "faces.json").unlink()
    return ["faces", "info", str(given.faceset)]


@case
def description_cut_short(given: Given) -> list[str]:
    cut(given.faceset / "faces.json", 0.3)
    return ["faces", "info", str(given.faceset)]


# Splits


@case
def too_few_identities(given: Given) -> list[str]:
    return given.train("split.settings.clients=5")


@case
def too_few_images(given: Given) -> list[str]:
    return given.train("split.settings.min_images=6")


@case
def nothing_left_to_train_on(given: Given) -> list[str]:
    return given.train("split.settings.test_count=5")


@case
def split_written_twice(given: Given) -> list[str]:
    (given.place / "split.json").write_text("{}", encoding="utf-8")
    return given.split()


@case
def manifest_of_other_faces(given: Given) -> list[str]:
    manifest = given.place / "split.json"
    shutil.copy(given.run / "split.json", manifest)
    tiny_faces(seed=5).save(given.place / "others")
    return given.train(f"split.manifest={manifest}", faces=given.place / "others")


@case
def identity_in_two_places(given: Given) -> list[str]:
    manifest = given.place / "split.json"
    content = json.loads((given.run / "split.json").read_text(encoding="utf-8"))
    content["public"]["images"] += "," + content["clients"]["client-01"]["train"].split(",")[0].split("-")[0]
    client = content["clients"]["client-01"]
    first, _, last = client["train"].split(",")[0].partition("-")
    client["train"] = ",".join([f"{int(first) + 1}-{last}", *client["train"].split(",")[1:]])
    manifest.write_text(json.dumps(content), encoding="utf-8")
    return given.train(f"split.manifest={manifest}")


@case
def manifest_cut_short(given: Given) -> list[str]:
    manifest = given.place / "split.json"
    shutil.copy(given.run / "split.json", manifest)
    cut(manifest, 0.5)
    return given.train(f"split.manifest={manifest}")


# Models


@case
def start_missing(given: Given) -> list[str]:
    return given.train(f"model.start={given.place / 'none.pth'}")


@case
def start_of_another_backbone(given: Given) -> list[str]:
    torch.save(build_backbone("mobilefacenet", 0).state_dict(), given.place / "m.pth")
    return given.train(f"model.start={given.place / 'm.pth'}")


@case
def start_cut_short(given: Given) -> list[str]:
    torch.save(build_backbone("slimface", 0).state_dict(), given.place / "m.pth")
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
    state = build_backbone("slimface", 0).state_dict()
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
    torch.save(build_backbone("slimface", 0).state_dict(), given.place / "m.pth")
    return ["models", "import", str(given.place / "m.pth"), str(given.run / "generic.safetensors")]


@case
def import_of_another_backbone(given: Given) -> list[str]:
    state = build_backbone("slimface", 0).state_dict()
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
    torch.save(build_backbone("slimface", 0).state_dict(), given.place / "m.pth")
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
def personal_model_alone(given: Given) -> list[str]:
    model = given.run / "clients" / "client-01" / "personal.safetensors"
    return ["evaluate", str(model), "--faces", str(given.faceset)]


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


# Runs


@case
def pretrain_of_another_configuration(given: Given) -> list[str]:
    more = ["federation.rounds=1", "pretrain.epochs=2"]
    return ["pretrain", *given.train(*more)[1:3], str(given.run), *given.train(*more)[4:]]


@case
def report_without_results(given: Given) -> list[str]:
    shutil.rmtree(given.run / "evaluation")
    return ["report", str(given.run)]


@case
def evaluate_before_there_is_a_model(given: Given) -> list[str]:
    shutil.rmtree(given.run / "pretrained")
    return ["evaluate", str(given.run)]


@case
def run_configuration_cut_short(given: Given) -> list[str]:
    (given.run / "config.yaml").write_text("seed: 0\nfaces:\n  source: folder\n  pat", encoding="utf-8")
    return ["resume", str(given.run)]


@case
def round_damaged(given: Given) -> list[str]:
    cut(given.run / "rounds" / "0001" / "generic.safetensors", 0.5)
    return ["resume", str(given.run)]


@case
def private_state_damaged(given: Given) -> list[str]:
    cut(given.run / "clients" / "client-01" / "private-000001.safetensors", 0.5)
    (given.run / "evaluation" / "fedfr.json").unlink()
    return ["resume", str(given.run)]


@case
def results_damaged(given: Given) -> list[str]:
    cut(given.run / "evaluation" / "fedfr.json", 0.5)
    return ["report", str(given.run)]


@case
def faces_of_a_run_gone(given: Given) -> list[str]:
    shutil.rmtree(given.faceset)
    return ["evaluate", str(given.run)]
