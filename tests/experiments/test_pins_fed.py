"""The benchmark pins-fed on a part of its two sets: people of both are found and excluded."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedfr.config.schema import load_config
from fedfr.core.errors import FedfrError
from fedfr.experiments.experiment import Experiment


@pytest.fixture
def cut(data_dir: Path, tmp_path: Path) -> list[str]:
    """Settings for a cut of real faces: 16 people of Pins, 3 of whom LFW has too, and 63 people of LFW."""
    both = people_of_both(data_dir)
    pins, lfw = tmp_path / "pins", tmp_path / "lfw"
    lfw.mkdir()
    others = sorted(folder.name for folder in (data_dir / "pins112").iterdir() if folder.name not in both)
    for name in [*list(both)[:3], *others[:13]]:
        (pins / name).mkdir(parents=True)
        for file in sorted((data_dir / "pins112" / name).iterdir())[:12]:
            (pins / name / file.name).symlink_to(file)
    people = sorted(folder.name for folder in (data_dir / "lfw112").iterdir())[:60]
    for name in [*people, *list(both.values())[:3]]:
        (lfw / name).symlink_to(data_dir / "lfw112" / name)
    split = ["train_count=6", "test_count=4", "identities_per_client=3", "seed=1"]
    given = [f"faces.public.path={lfw}", f"faces.private.path={pins}", *(f"split.settings.{each}" for each in split)]
    quick = ["pretrain.epochs=1", "federation.rounds=1", "local.epochs=1", "local.batch_size=8", "baselines=[]"]
    return [*given, *quick]


def people_of_both(data_dir: Path) -> dict[str, str]:
    """People of Pins who are in LFW too, and their names there."""
    lines = (data_dir / "pins112_overlap.tsv").read_text().splitlines()
    return dict(line.split("\t") for line in lines if not line.startswith("#"))


@pytest.mark.slow
def test_pins_fed_on_a_cut_of_the_data(data_dir: Path, cut: list[str], tmp_path: Path) -> None:
    both = people_of_both(data_dir)
    exclude = f"faces.private.exclude={data_dir / 'pins112_overlap.tsv'}"
    run = Experiment.create(load_config("pins-fed", [*cut, exclude]), tmp_path / "run")
    split, faces = run.components.split, run.components.faces
    assert [part.name for part in split.sets] == ["lfw", "pins"]
    assert set(split.sets[1].left_out) == set(list(both)[:3])
    assert [(len(own.train), len(own.test)) for own in split.clients.values()] == [(18, 12), (18, 12)]
    assert all(name.startswith("lfw/") for name in split.identities["public"])
    assert sum(name.startswith("pins/") for name in split.identities["generic"]) == 13 - 6
    assert not {name.partition("/")[2] for name in faces.identities} & set(both)
    rows = run.run(False)
    assert {row.model for row in rows} == {"pretrained", "generic", "personalized"}
    assert run.finished


def test_pins_fed_excludes_shared_people_from_the_public_set(data_dir: Path, cut: list[str], tmp_path: Path) -> None:
    """The same list of people in both sets; all people of Pins are then private."""
    both = people_of_both(data_dir)
    exclude = f"faces.public.exclude={data_dir / 'pins112_overlap.tsv'}"
    given = [f"split.settings.{each}" for each in ("deals=2", "identities_per_client=2", "public_identities=5")]
    run = Experiment.create(load_config("pins-fed", [*cut, exclude, *given]), tmp_path / "run")
    faces, split = run.components.faces, run.components.split
    assert set(faces.sets[0].left_out) == set(both.values()) & {folder.name for folder in (tmp_path / "lfw").iterdir()}
    assert len(faces.sets[0].left_out) > 2
    assert (faces.sets[1].identities, faces.sets[1].left_out) == (16, {})
    assert [len(split.identities[client]) for client in split.clients] == [2, 2]


@pytest.mark.slow
def test_people_of_both_sets_are_found_by_a_model(
    data_dir: Path, models_dir: Path, cut: list[str], tmp_path: Path
) -> None:
    """Identities without common names or images are found by features."""
    (model,) = models_dir.rglob("mobilefacenet_casia.ckpt")
    given = load_config("pins-fed", [*cut, f"faces.compare_with={model}"])
    expected = r"2 identities are in more than one face set: .* of pins \(looks like '\w+' of lfw\)"
    with pytest.raises(FedfrError, match=expected):
        Experiment.create(given, tmp_path / "run")
    dropped = load_config("pins-fed", [*cut, f"faces.compare_with={model}", "faces.overlap=drop"])
    left = Experiment.create(dropped, tmp_path / "run").components.split.sets[1].left_out
    # Of the third person LFW has a single image, which is not similar enough.
    assert set(left) == set(list(people_of_both(data_dir))[:2])
