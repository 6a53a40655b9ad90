"""Kinds of bad input: what is prepared, what is asked, and the one line that answers."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import safetensors.torch
import torch
import yaml
from tests.tiny import tiny_faces

from fedfr.faces import FaceSet
from fedfr.models import build_backbone

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


# Audits


@case
def audit_of_a_set_cut_short(given: Given) -> list[str]:
    cut(given.faceset / "pixels.npy", 0.7)
    return ["faces", "audit", str(given.faceset)]


@case
def audit_of_nothing(given: Given) -> list[str]:
    return ["faces", "audit", str(given.place / "nobody")]


@case
def audit_with_the_split_of_others(given: Given) -> list[str]:
    tiny_faces(seed=5).save(given.place / "others")
    return ["faces", "audit", str(given.place / "others"), "--split", str(given.run / "split.json")]


@case
def audit_with_a_split_cut_short(given: Given) -> list[str]:
    shutil.copy(given.run / "split.json", given.place / "split.json")
    cut(given.place / "split.json", 0.5)
    return ["faces", "audit", str(given.faceset), "--split", str(given.place / "split.json")]


@case
def audit_with_a_model_cut_short(given: Given) -> list[str]:
    cut(given.run / "generic.safetensors", 0.9)
    return ["faces", "audit", str(given.faceset), "--model", str(given.run / "generic.safetensors")]


@case
def audit_with_a_text_for_a_model(given: Given) -> list[str]:
    (given.place / "m.pth").write_text("no weights", encoding="utf-8")
    return ["faces", "audit", str(given.faceset), "--model", str(given.place / "m.pth")]


@case
def audit_over_a_file(given: Given) -> list[str]:
    (given.place / "findings.csv").write_text("mine", encoding="utf-8")
    return ["faces", "audit", str(given.faceset), "--csv", str(given.place / "findings.csv")]


# Splits


@case
def copies_neither_refused_nor_dropped(given: Given) -> list[str]:
    return given.split("duplicates=keep")


@case
def copies_in_training_and_test(given: Given) -> list[str]:
    pixels = np.load(given.faceset / "pixels.npy")
    pixels[4::5] = pixels[0::5]
    content = json.loads((given.faceset / "faces.json").read_text(encoding="utf-8"))
    shutil.rmtree(given.faceset)
    FaceSet(pixels, content["labels"], content["identities"], content["names"]).save(given.faceset)
    return given.split("clients=1")


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
