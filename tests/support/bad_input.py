"""Cases of invalid input: preparation, command, and the expected one-line error."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import yaml

__all__ = ["CASES", "Case", "Given", "collector", "cut"]

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

    def sample(self, *names: str) -> Path:
        """Images of random colours below ``place/people``."""
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


MESSAGES: dict[str, str] = yaml.safe_load(Path(__file__).with_name("messages.yaml").read_text(encoding="utf-8"))
Prepare = Callable[[Given], list[str]]


def collector(cases: list[Case]) -> Callable[[Prepare], Prepare]:
    """Return a decorator that registers a preparation under its function's name."""

    def case(prepare: Prepare) -> Prepare:
        cases.append(Case(prepare.__name__, MESSAGES[prepare.__name__], prepare))
        return prepare

    return case


def cut(path: Path, keep: float) -> None:
    """Truncate to a share of its length."""
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])


CASES: list[Case] = []
case = collector(CASES)


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
