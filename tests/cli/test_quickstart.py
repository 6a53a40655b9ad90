"""``fedfr quickstart`` on tiny faces: output, JSON, repetition, and other commands on its folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.cli.conftest import Fedfr, answered
from tests.support.tiny_experiment import SETTINGS, tiny_faces

OWN = ("split.settings", "baselines", "model.backbone")


@pytest.mark.slow
def test_the_quickstart_ends_with_a_verdict_and_is_continued(tmp_path: Path, fedfr: Fedfr) -> None:
    tiny_faces(40).save(tmp_path / "faces")
    values = [value for value in SETTINGS if not value.startswith(OWN)]
    values += [f"faces.path={tmp_path / 'faces'}", "split.recipe=quickstart", "evaluation.fars=[0.1,0.01]"]
    given = {"public_identities": 4, "clients": 2, "identities_per_client": 3, "train_count": 2, "test_count": 3}
    values += [f"split.settings.{name}={value}" for name, value in given.items()]
    values += ["split.settings.distractors=generic", "federation.rounds=1"]
    options = [part for value in values for part in ("--set", value)]
    out = tmp_path / "run"

    answer = fedfr("quickstart", "--out", out, *options)
    assert answer.code == 0, answer.err
    assert "fedfr generic − pretrained             own" in answer.out
    assert "Means and t intervals over 5 deals, in each of which other people are private." in answer.out
    assert (
        max(map(len, answer.out.partition("TAR@FAR=1e-2, difference")[2].partition("report with")[0].splitlines()))
        <= 80
    )
    assert (out / "report.html").is_file()
    assert (out / "scratch" / "seed-4" / "clients" / "client-02" / "personal.safetensors").is_file()

    # As a killed process leaves it.
    shutil.rmtree(out / "scratch" / "seed-4" / "evaluation")
    (out / "results.csv").unlink()
    found = answered(fedfr("quickstart", "--out", out, *options, "--json"))
    assert [found["answers"][0][name] for name in ("one", "other")] == ["fedfr generic", "pretrained"]
    first = found["answers"][0]
    line = next(line for line in answer.out.splitlines() if line.startswith("fedfr generic − pretrained       "))
    ends = "" if first["low"] is None else f" [{100 * first['low']:+.1f}, {100 * first['high']:+.1f}]"
    assert f"own {100 * first['difference']:+.1f}{ends} {first['answer']}" in " ".join(line.split())
    assert {row["seed"] for row in found["results"]} == {0, 1, 2, 3, 4}

    again = fedfr("quickstart", "--out", out, "--seed", "1", *options)
    assert again.code == 2
    assert "was begun with" in again.err
    resumed = fedfr("resume", out)
    assert resumed.code == 2
    assert resumed.err.endswith("repeat the command that began it, or give a folder of one of its runs\n")
