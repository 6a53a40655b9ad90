"""The documented commands from photographs to results, and imports killed at random moments."""

from __future__ import annotations

import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.slow.test_readme import OWN_FACES, SHORT, blocks, fedfr
from tests.support.photograph_files import YUNET

pytestmark = pytest.mark.slow
# The sample has 12 people with 4 or 5 photographs each; the page's split is for 40.
SPLIT = ["public_identities=4", "clients=2", "identities_per_client=3", "test_share=0.5"]
SMALL = [*SHORT, *(part for value in SPLIT for part in ("--set", f"split.settings.{value}"))]


def test_from_photographs_to_results(data_dir: Path, models_dir: Path, tmp_path: Path) -> None:
    lines = [shlex.split(line)[1:] for line in re.findall(r"^    (fedfr .*)$", OWN_FACES, re.MULTILINE)]
    assert [line[0] for line in lines] == ["faces", "train", "evaluate"]
    shutil.copytree(data_dir / "lfw250_sample", tmp_path / "PHOTOS")
    shutil.copyfile(models_dir / YUNET, tmp_path / YUNET)
    (config,) = blocks(OWN_FACES, "yaml")
    (tmp_path / "my.yaml").write_text(config, encoding="utf-8")
    answers = [fedfr(tmp_path, *line, *(SMALL if line[0] == "train" else ())) for line in lines]
    assert "aligned 56 of 56 photographs" in answers[0]
    assert "personalized" in answers[1]
    assert "personalized" in answers[2]


def test_killed_at_random_moments(data_dir: Path, models_dir: Path, tmp_path: Path) -> None:
    """Twenty kills of imports of 168 photographs: set and list equal those of an uninterrupted import."""
    photographs = tmp_path / "photographs"
    for copy in range(3):
        for folder in (data_dir / "lfw250_sample").iterdir():
            shutil.copytree(folder, photographs / f"{folder.name} {copy}")
    (photographs / "Jim_Hahn 0" / "broken.jpg").write_bytes(b"\xff\xd8\xff")

    def command(dest: str) -> list[str]:
        script = "from fedfr.cli import main; main()"
        options = ["--align", "yunet", "--detector", str(models_dir / YUNET)]
        return [sys.executable, "-c", script, "faces", "import", str(photographs), str(tmp_path / dest), *options]

    begun = time.monotonic()
    subprocess.run(command("plain"), check=True, capture_output=True)
    whole = time.monotonic() - begun
    expected = {path.name: path.read_bytes() for path in (tmp_path / "plain").iterdir()}
    kept = {"columns.dat", "digests.npy", "faces.json", "photographs.json", "pixels.npy", "skipped.csv"}
    assert set(expected) == kept
    generator, hits, attempt = random.Random(5), 0, 0
    while hits < 20:
        attempt += 1
        assert attempt < 60
        dest = f"set {attempt}"
        kills = 0
        while True:
            process = subprocess.Popen(command(dest), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            try:
                _, errors = process.communicate(timeout=generator.uniform(0.3, 1.1) * whole if kills < 4 else None)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                kills += 1
                continue
            # The set may have been whole, and only the answer missing.
            done = f"{dest} already holds files; give a new or empty folder for the faces\n"
            assert process.returncode == 0 or (kills and errors.decode().endswith(done)), errors.decode()
            break
        hits += kills
        assert {path.name: path.read_bytes() for path in (tmp_path / dest).iterdir()} == expected
        assert not (tmp_path / f".{dest}.import").exists()
        shutil.rmtree(tmp_path / dest)
