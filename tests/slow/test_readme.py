"""Commands of the README and of the how-to on own faces, run exactly as printed."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from tests.support.tiny_experiment import tiny_faces

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
OWN_FACES = (ROOT / "docs" / "howto" / "own-faces.md").read_text(encoding="utf-8")
# The commands of that page must finish in a minute here.
SHORTER = ["pretrain.epochs=1", "federation.rounds=1", "local.epochs=1", "local.batch_size=16"]
SHORT = [part for value in SHORTER for part in ("--set", value)]


def blocks(page: str, language: str) -> list[str]:
    """Every fenced block of the language."""
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def commands() -> list[list[str]]:
    """The arguments of every fedfr command on the page about one's own faces, in order."""
    lines = [line for block in blocks(OWN_FACES, "sh") for line in block.splitlines() if line.startswith("fedfr ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def fedfr(place: Path, *arguments: str) -> str:
    """What the command prints, run in ``place``."""
    command = [sys.executable, "-c", "from fedfr.cli import main; main()", *arguments]
    done = subprocess.run(command, cwd=place, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_the_python_example(tmp_path: Path) -> None:
    (example,) = blocks(README, "python")
    assert len([line for line in example.splitlines() if line and not line.startswith("#")]) <= 20
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert "personalized client-01" in done.stdout
    assert (tmp_path / "runs" / "example" / "generic.safetensors").is_file()


@pytest.mark.slow
def test_your_own_faces(tmp_path: Path) -> None:
    people = tmp_path / "my images"
    faces = tiny_faces(42, 5)
    for index, label in enumerate(faces.labels):
        path = people / faces.identities[label] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), faces.images([index])[0][:, :, ::-1])
    (config,) = blocks(OWN_FACES, "yaml")
    (tmp_path / "my.yaml").write_text(config, encoding="utf-8")
    lines = commands()
    assert [line[0] for line in lines[:6]] == ["faces", "faces", "train", "resume", "evaluate", "report"]
    for line in lines[:6]:
        arguments = [str(people) if part == "FOLDER" else part for part in line]
        if arguments[0] == "train":
            arguments += SHORT
        answer = fedfr(tmp_path, *arguments)
        if "--json" in arguments:
            assert {row["model"] for row in json.loads(answer)} >= {"pretrained", "generic", "personalized"}


@pytest.mark.slow
def test_methods_side_by_side(tmp_path: Path) -> None:
    """The command on ORL, shortened; the one for LFW differs only in its faces."""
    orl, lfw, report, scenario = commands()[6:]
    assert (orl[:2], lfw[:2]) == (["benchmark", "orl"], ["benchmark", "lfw-fed"])
    answer = fedfr(tmp_path, *orl, "--methods", "fedavg,fedfr", *SHORT)
    assert "fedfr personalized" in answer
    assert (tmp_path / orl[orl.index("--out") + 1] / "results.csv").is_file()
    fedfr(tmp_path, *report)
    assert (tmp_path / orl[orl.index("--out") + 1] / "report.html").is_file()
    answer = fedfr(tmp_path, *scenario, "--methods", "fedavg", *SHORT)
    assert ": identities-1\n" in answer
    fedfr(tmp_path, "report", scenario[scenario.index("--out") + 1])
