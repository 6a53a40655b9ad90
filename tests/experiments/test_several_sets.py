"""Runs with several face sets: equal to runs on one joined set, in workers and at sites."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import pytest
import yaml
from tests.support.tiny_experiment import SETTINGS, bits, tiny_faces

from fedfr.config.schema import ExperimentConfig, FacesConfig, load_config
from fedfr.core.errors import FedfrError
from fedfr.deployment.partition_export import export_partitions
from fedfr.experiments.benchmark import Benchmark
from fedfr.experiments.benchmark_plan import plan_benchmark
from fedfr.experiments.components import open_faces
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.report import open_report
from fedfr.faces import FaceSet, Split
from fedfr.faces.name_matching import matching_names

SETS = {"public": 4, "north": 4, "south": 3, "generic": 2}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Saved sets of different people; the images of ``south`` are in a folder."""
    folder = tmp_path_factory.mktemp("sets")
    for seed, (name, people) in enumerate(SETS.items()):
        faces = tiny_faces(people, 5, seed)
        faces.renamed([f"{name[0]}{number}" for number in range(people)], faces.names).save(folder / name)
    return folder


def config(sets: Path, *more: str) -> ExperimentConfig:
    names = f"[{{name: north, path: {sets / 'north'}}}, {{name: south, path: {sets / 'south'}}}]"
    given = [f"faces.public={sets / 'public'}", f"faces.private={names}", f"faces.generic={sets / 'generic'}"]
    return load_config(None, [*given, *SETTINGS, "federation.rounds=1", *more])


def images_of(faces: FaceSet, folder: Path) -> Path:
    """The faces as image files, a sub-folder for each identity; returns ``folder``."""
    for index, image in enumerate(faces.images(range(len(faces)))):
        place = folder / faces.identities[int(faces.labels[index])] / f"{index:03d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(place), image[:, :, ::-1])
    return folder


@pytest.fixture(scope="module")
def finished(sets: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    run = Experiment.create(config(sets), tmp_path_factory.mktemp("run") / "several")
    run.run(False)
    return run


def test_a_run_equals_that_of_one_joined_set(sets: Path, finished: Experiment, tmp_path: Path) -> None:
    """Memory-mapped parts give the same bits as one copied set."""
    FaceSet.load(finished.folder / "faces").save(tmp_path / "one")
    given = [f"faces.path={tmp_path / 'one'}", f"split.manifest={finished.folder / 'split.json'}"]
    run = Experiment.create(load_config(None, [*given, *SETTINGS, "federation.rounds=1"]), tmp_path / "run")
    rows = run.run(False)
    assert bits(run.folder) == bits(finished.folder)
    assert [row.value for row in rows] == [row.value for row in finished.results()]


@pytest.mark.slow
def test_a_run_in_workers_is_the_same(sets: Path, finished: Experiment, tmp_path: Path) -> None:
    run = Experiment.create(config(sets, "runtime.workers=2"), tmp_path / "run")
    run.run(False)
    assert bits(run.folder) == bits(finished.folder)


def test_the_run_names_its_sets(finished: Experiment) -> None:
    assert not (finished.folder / "faces" / "pixels.npy").exists()
    assert [part.name for part in Split.load(finished.folder / "split.json").sets] == list(SETS)
    last = finished.describe().splitlines()[-1]
    assert last.startswith("face sets: public (20 images of 4 identities, fingerprint ")
    assert "; north (private, 20 images of 4 identities, " in last
    assert any("face sets: public" in line for line in open_report(finished.folder).description)
    assert len(Experiment.open(finished.folder).evaluate()) == len(finished.results())


def test_sites_get_their_own_set_and_the_public_one(sets: Path, tmp_path: Path) -> None:
    whole = config(sets)
    split = whole.split.model_copy(update={"recipe": "sets", "settings": {"test_count": 2, "min_images": 4}})
    run = Experiment.create(whole.model_copy(update={"split": split}), tmp_path / "run")
    assert export_partitions(run.components, tmp_path / "out", "run") == ["north", "south"]
    public = FaceSet.load(sets / "public")
    for name in ("north", "south"):
        site = tmp_path / "out" / "sites" / name
        assert FaceSet.load(site / "faces").identities == FaceSet.load(sets / name).identities
        assert {*FaceSet.load(site / "faces").digests()} == {*FaceSet.load(sets / name).digests()}
        assert FaceSet.load(site / "public").fingerprint() == public.fingerprint()
        assert matching_names(FaceSet.load(site / "faces").identities, FaceSet.load(site / "public").identities) == []
        agreement = yaml.safe_load((site / "agreement.yaml").read_text())
        assert agreement["public"] == public.fingerprint()
    coordinator = FaceSet.load(tmp_path / "out" / "coordinator" / "faces")
    assert coordinator.identities == (*public.identities, "generic/g0", "generic/g1")
    again = load_config(tmp_path / "out" / "coordinator" / "config.yaml")
    components = Experiment(again, tmp_path / "coordinator").components
    assert components.public_faces.fingerprint() == public.fingerprint()


def test_unused_private_identities_are_not_sent_to_the_coordinator(sets: Path, tmp_path: Path) -> None:
    given = [f"faces.public={sets / 'public'}", f"faces.private={sets / 'north'}", *SETTINGS]
    run = Experiment.create(load_config(None, [*given, "split.settings.identities_per_client=1"]), tmp_path / "run")
    assert len(run.components.split.generic) == 10
    export_partitions(run.components, tmp_path / "out", "run")
    coordinator = FaceSet.load(tmp_path / "out" / "coordinator" / "faces")
    assert not coordinator.digests().intersects(FaceSet.load(sets / "north").digests())
    assert len(Split.load(tmp_path / "out" / "coordinator" / "split.json").generic) == 0


def test_sets_are_imported_once_beside_the_links(sets: Path, tmp_path: Path) -> None:
    source = images_of(FaceSet.load(sets / "south"), tmp_path / "images")
    given = load_config(None, [f"faces.public={sets / 'public'}", f"faces.private={source}"])
    whole = open_faces(given, tmp_path / "run" / "faces")
    assert [part.fingerprint for part in whole.sets] == [
        *(FaceSet.load(sets / name).fingerprint() for name in ("public", "south"))
    ]
    assert FaceSet.load(tmp_path / "run" / "face_sets" / "private").fingerprint() == whole.sets[1].fingerprint
    # An import that was interrupted before the whole was saved goes on with what is there.
    (tmp_path / "run" / "faces" / "faces.json").unlink()
    source.rename(tmp_path / "gone")
    assert open_faces(given, tmp_path / "run" / "faces").fingerprint() == whole.fingerprint()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"public": "{sets}/public", "path": "{sets}/north"}, "give either faces.path, or faces.public"),
        ({"compare_with": "x"}, "faces.compare_with compares several face sets"),
        ({"private": [{"name": "a", "path": "x"}, {"name": "A", "path": "y"}]}, "two face sets have the same name"),
        ({"private": {"paths": "x"}}, "private.0.paths"),
        ({"overlap": "merge", "private": "x"}, "overlap"),
        ({"private": 3}, "private"),
    ],
)
def test_incompatible_settings_are_refused(sets: Path, given: dict[str, object], message: str) -> None:
    with pytest.raises(FedfrError, match=message) as caught:
        load_config(None, {"faces": yaml.safe_load(yaml.safe_dump(given).replace("{sets}", str(sets)))})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("private", "message"),
    [
        ("{place}/none", r"face set 'private' \(faces.private\): .*none is not a folder"),
        ("{place}/empty", r"face set 'private' \(faces.private\): .*empty has no images"),
        ("{place}/cut", r"face set 'private' \(faces.private\): .*pixels.npy is truncated"),
        ("", r"face set 'private' \(faces.private\): faces.private.path is missing; the folder source needs"),
        ("{place}/list", r"face set 'private' \(faces.private\): .*list.txt does not exist"),
        ("{sets}/public", r"face sets 'public' and 'private' hold the same faces; give each"),
    ],
)
def test_an_unusable_set_is_named_and_the_folder_unchanged(
    sets: Path, tmp_path: Path, private: str, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    tiny_faces(3, 4, 8).save(tmp_path / "cut")
    os.truncate(tmp_path / "cut" / "pixels.npy", 5000)
    place = private.format(place=tmp_path, sets=sets)
    source: dict[str, object] = {"path": place} if place else {"source": "folder"}
    if private.endswith("list"):
        source = {"path": str(sets / "north"), "exclude": str(tmp_path / "list.txt")}
    given = load_config(None, {"faces": {"public": str(sets / "public"), "private": source}})
    with pytest.raises(FedfrError, match=message) as caught:
        Experiment.create(given, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_an_incomplete_start_is_named(sets: Path, tmp_path: Path) -> None:
    """The faces are imported and the configuration is not written yet."""
    given, place = config(sets), tmp_path / "run"
    open_faces(given, place / "faces")
    with pytest.raises(FedfrError, match=r"incomplete start of a run .* remove the folder and repeat the command"):
        Experiment.create(given, place)
    assert (place / "faces" / "faces.json").is_file()


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_run_without_public_images_does_not_begin(sets: Path, tmp_path: Path, epochs: int) -> None:
    split = {"recipe": "sets", "settings": {"min_images": 4}}
    given = {"faces": {"private": str(sets / "north")}, "split": split, "pretrain": {"epochs": epochs}}
    with pytest.raises(FedfrError, match="the split has no public images, which fedfr and centralized train on; give"):
        Experiment.create(load_config(None, given), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_changed_set_stops_a_resumed_run(sets: Path, tmp_path: Path) -> None:
    FaceSet.load(sets / "north").save(tmp_path / "north")
    given = [f"faces.public={sets / 'public'}", f"faces.private={tmp_path / 'north'}", *SETTINGS]
    few = [*given, "split.settings.identities_per_client=1"]
    run = Experiment.create(load_config(None, few), tmp_path / "run")
    (tmp_path / "north").rename(tmp_path / "before")
    with pytest.raises(FedfrError, match=r"face set 'private' is not in .*north; restore it, or set its `folder` in"):
        Experiment.open(run.folder).run(False)
    FaceSet.load(sets / "south").save(tmp_path / "north")
    with pytest.raises(FedfrError, match=r"face set 'private' in .*north has other faces than before \(fingerprint "):
        Experiment.open(run.folder).run(False)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "faces: {public: lfw, private: [north, {path: ~/south, exclude: out.txt}], compare_with: m.ckpt}"
    )
    faces = load_config(tmp_path / "c.yaml").faces
    assert faces.public is not None
    assert faces.public.path == str(tmp_path / "lfw")
    assert [own.path for own in faces.private] == [str(tmp_path / "north"), str(Path.home() / "south")]
    assert faces.private[1].exclude == str(tmp_path / "out.txt")
    assert faces.compare_with == str(tmp_path / "m.ckpt")
    assert [name for name, _, _ in faces.sets] == ["public", "private-1", "private-2"]
    assert FacesConfig().sets == ()


def test_runs_of_a_benchmark_share_the_sets(sets: Path, tmp_path: Path) -> None:
    """Two cells: what has to be imported is imported once for all of them."""
    source = images_of(FaceSet.load(sets / "south"), tmp_path / "images")
    split: dict[str, int | None] = {
        "clients": 1,
        "identities_per_client": 1,
        "train_count": 3,
        "test_count": 1,
        "distractors": 0,
    }
    split |= {"public_identities": 2, "deals": None}
    settings = {
        "faces": {"public": {"path": str(sets / "public")}, "private": {"path": str(source)}},
        "split": {"settings": split},
    }
    plan = plan_benchmark("pins-fed", scenario="clients", methods=["local"], settings=settings)
    made = Benchmark.begin(plan, tmp_path / "bench")
    cells = [Experiment.open(made.folder / cell / "seed-0") for cell in plan.cells]
    assert {run.components.faces.folder for run in cells} == {tmp_path / "bench" / "faces"}
    assert [path.name for path in (tmp_path / "bench" / "face_sets").iterdir()] == ["pins"]
