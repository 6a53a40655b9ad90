"""Galleries of a site: its newest personalized model, the federation's strangers, its own people, and a new round."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest
from tests.deployment.conftest import Federation
from tests.support.deployment_folders import edit
from tests.support.service_client import ServiceClient
from typer.testing import CliRunner

from fedfr.cli.main import app
from fedfr.cli.serve_command import site_rebuild
from fedfr.core.errors import FedfrError
from fedfr.deployment.gallery_watch import GalleryWatch
from fedfr.deployment.site import Site
from fedfr.deployment.site_config import SiteConfig
from fedfr.deployment.site_gallery import create_site_gallery, newest_model, register_gallery
from fedfr.deployment.status import site_status
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.gallery_models import model_of_run
from fedfr.faces import FaceSet
from fedfr.federation.private_store import PrivateStore
from fedfr.recognition.gallery import encryption
from fedfr.recognition.photos.embedder import Embedder
from fedfr.recognition.recognizer import Recognizer
from fedfr.recognition.service.app import create_app
from fedfr.recognition.service.limits import ServiceLimits
from fedfr.recognition.service.state import ServiceState

CLIENT = "client-01"
# Three strangers prove 63.2 %.
SETTINGS = ("split.settings.stranger_identities=3", "pretrain.epochs=0", "federation.rounds=1")
RATE = "0.64"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a site after a run of one round, with the private state of its client in the local run."""
    made = Federation(tmp_path_factory.mktemp("federation"), *SETTINGS)
    made.local.run(False)
    shutil.copytree(made.local.folder / "clients" / CLIENT, Site.open(made.sites[CLIENT] / "site.yaml").private)
    return made.sites[CLIENT]


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "site"))


@pytest.fixture
def door(folder: Path, tmp_path: Path) -> Path:
    """A gallery with the site's people."""
    options = ["--quality", "off", "--fpir", RATE, "--enrol-site-people"]
    answer = CliRunner().invoke(app, ["gallery", "init", str(tmp_path / "door"), "--site", str(folder), *options])
    assert answer.exit_code == 0, answer.output
    return tmp_path / "door"


@pytest.fixture
def next_round(folder: Path) -> None:
    """Another round changes the site's personalized model."""
    site = Site.open(folder / "site.yaml")
    store = PrivateStore(site.private, CLIENT)
    state = store.latest()
    assert state is not None
    dfc = {name: value * 1.5 for name, value in state.dfc.items()}
    store.save(replace(state, round=state.round + 1, dfc=dfc))


def test_the_sites_people_are_enrolled_from_training_images(folder: Path, door: Path) -> None:
    site = Site.open(folder / "site.yaml")
    _, division = site.partitioned_faces
    with Recognizer.open(door) as recognizer:
        assert [person.name for person in recognizer.persons()] == list(site.own_faces.identities)
        calibration = recognizer.calibration()
        assert calibration is not None
        assert calibration.identify.strangers == 3
        genuine = calibration.genuine
        assert genuine is not None
        assert (genuine.source, genuine.images, genuine.people) == ("held-out", len(division.test), 3)
        status = recognizer.status()
        assert status.model == "personalized"
    assert SiteConfig.load(folder / "site.yaml").galleries == (str(door),)
    # Whoever left, or was not enrolled because of an interruption, is enrolled later; the others are left alone.
    rebuild = ["gallery", "rebuild", str(door), "--site", str(folder), "--enrol-site-people", "--json"]
    with Recognizer.open(door) as recognizer:
        removed = recognizer.persons()[1].name
        recognizer.remove(removed)
    content = json.loads(CliRunner().invoke(app, rebuild).stdout)
    assert not content["changed"]
    assert [(each["person"], each["enrolled"]) for each in content["enrolments"]] == [(removed, True)]
    assert "enrolments" not in json.loads(CliRunner().invoke(app, rebuild).stdout)
    assert list(Path(site.config.private).glob(".model-*")) == []


def test_a_new_round_is_offered_and_rebuilt(
    folder: Path, door: Path, next_round: None, caplog: pytest.LogCaptureFixture
) -> None:
    site_file = folder / "site.yaml"
    command = f"fedfr gallery rebuild {door} --site {folder}"
    assert site_status(site_file)["galleries"] == {str(door): f"has another model than that of round 2; {command}"}
    printed = CliRunner().invoke(app, ["site", "status", str(folder)]).stdout
    assert f"galleries: {door} has another model than that of round 2; {command}" in printed
    watch = GalleryWatch(site_file)
    with caplog.at_level(logging.INFO, "fedfr.deployment"):
        watch.look()
        watch.look()
        (record,) = caplog.records
        assert record.getMessage() == f"gallery {door} has the model of an earlier round; rebuild it: {command}"
        caplog.clear()
        with Recognizer.open(door) as recognizer:
            before = recognizer.status()
            answer = CliRunner().invoke(app, command.split()[1:])
            assert answer.exit_code == 0, answer.output
            # The recognizer that was open uses the new model.
            after, calibration = recognizer.status(), recognizer.calibration()
        edit(site_file, rebuild="automatic")
        watch.look()
    assert caplog.records == []
    assert after.space != before.space
    assert (after.enrolled, after.waiting, after.problem) == (3, (), "")
    assert calibration is not None
    assert calibration.genuine is not None
    assert (calibration.genuine.source, calibration.genuine.people) == ("held-out", 3)
    assert site_status(site_file)["galleries"] == {str(door): "has the model of round 2"}


def test_a_gallery_with_a_passphrase_is_not_rebuilt_without_a_person(
    folder: Path, door: Path, next_round: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encryption, "_COST", min(encryption._COSTS))
    with Recognizer.open(door) as recognizer:
        recognizer.rekey("correct horse")
    edit(folder / "site.yaml", rebuild="automatic")
    with caplog.at_level(logging.INFO, "fedfr.deployment"):
        GalleryWatch(folder / "site.yaml").look()
    (record,) = caplog.records
    assert record.getMessage() == (
        f"gallery {door} has the model of an earlier round and needs its passphrase; rebuild it: "
        f"fedfr gallery rebuild {door} --site {folder}"
    )


def test_a_service_rebuilds_for_the_newest_model_of_a_site(folder: Path, door: Path, next_round: None) -> None:
    """``POST /v1/rebuild`` of ``fedfr serve --site``."""
    state = ServiceState(door, ServiceLimits(rate=1e6, burst=1e6), rebuild=site_rebuild(folder))
    with Recognizer.open(door) as recognizer, ServiceClient(create_app(state)) as client:
        before = recognizer.status()
        state.open(recognizer)
        assert client.post("/v1/rebuild").status_code == 202
        while (content := client.get("/v1/rebuild").json())["state"] == "running":
            pass
        assert (content["state"], content["error"], content["done"]) == ("done", None, 3)
        assert (content["result"]["people"], content["result"]["needs_photo"]) == (3, [])
        after = client.get("/v1/gallery").json()
        assert (after["space"], after["enrolled"], after["problem"]) == (content["result"]["space"], 3, None)
        assert after["space"] != before.space
    assert site_status(folder / "site.yaml")["galleries"] == {str(door): "has the model of round 2"}


def test_a_gallery_of_a_run_is_calibrated_with_the_strangers_of_its_split(trained: Path, tmp_path: Path) -> None:
    run, options = trained.parents[2] / "local", ["--client", CLIENT, "--quality", "off", "--fpir", RATE, "--json"]
    answer = CliRunner().invoke(app, ["gallery", "init", str(tmp_path / "door"), "--run", str(run), *options])
    assert answer.exit_code == 0, answer.output
    made = json.loads(answer.stdout)
    assert (made["model"], made["strangers"]) == ("personalized", 3)
    # The site's newest model is the same.
    with Recognizer.open(tmp_path / "door") as recognizer, newest_model(Site.open(trained / "site.yaml")) as (_, path):
        assert recognizer.status().space == Embedder.open(path).space


def test_an_unfinished_run_announces_nothing(folder: Path, door: Path, caplog: pytest.LogCaptureFixture) -> None:
    edit(folder / "agreement.yaml", rounds=9)
    site = Site.open(folder / "site.yaml")
    earlier = next(Path(site.config.private).glob("*/private-000001.safetensors")).parent
    shutil.copytree(earlier, site.private)
    with newest_model(site) as (number, _):
        assert number == 1
    edit(folder / "site.yaml", galleries=["../nowhere"])
    GalleryWatch(folder / "site.yaml").look()
    assert caplog.records == []
    edit(folder / "agreement.yaml", rounds=1)
    GalleryWatch(folder / "site.yaml").look()
    (record,) = caplog.records
    assert "nowhere is not a gallery" in record.getMessage()


def test_strangers_and_models_that_cannot_be_used(folder: Path, tmp_path: Path) -> None:
    door = str(tmp_path / "door")

    def refused(*more: str) -> str:
        answer = CliRunner().invoke(app, ["gallery", "init", door, "--site", str(folder), "--quality", "off", *more])
        assert isinstance(answer.exception, FedfrError)
        assert not Path(door).exists()
        assert SiteConfig.load(folder / "site.yaml").galleries == ()
        return str(answer.exception)

    assert "the best rate they prove is 0.632" in refused("--fpir", "0.01")
    strangers = FaceSet.load(folder / "strangers")
    own = Site.open(folder / "site.yaml").own_faces.identities[0]
    known = strangers.renamed([*strangers.identities[:2], own], strangers.names)
    known.save(tmp_path / "known")
    assert "have the same name as some of the strangers" in refused("--strangers", str(tmp_path / "known"))
    edit(folder / "agreement.yaml", strangers="")
    assert "has no strangers; give faces of people whom nobody trains on" in refused()
    edit(folder / "agreement.yaml", strangers=strangers.fingerprint(), seed=7)
    assert "client-01 has not taken part in a round of remote yet" in refused("--fpir", RATE)
    assert "--run and --site choose different models" in refused("--run", str(tmp_path))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("client: a\ngalleries: []\nport: 1\n", 'client: a\ngalleries: ["../my door"]\nport: 1\n'),
        ("galleries: [../one]\nclient: a\n", 'galleries: [../one, "../my door"]\nclient: a\n'),
        ("client: a", 'client: a\n\ngalleries: ["../my door"]\n'),
        ("client: a\ngalleries:\n- ../one\n", None),
    ],
)
def test_a_gallery_is_added_to_the_configuration(tmp_path: Path, before: str, after: str | None) -> None:
    path = tmp_path / "site" / "site.yaml"
    path.parent.mkdir()
    text = f"agreement: a.yaml\nfaces: {{path: faces}}  # mine\n{before}"
    path.write_text(text, "utf-8")
    assert register_gallery(path, tmp_path / "my door") is (after is not None)
    expected = text if after is None else text.replace(before, after)
    assert path.read_text("utf-8") == expected
    if after is not None:
        assert register_gallery(path, tmp_path / "my door")
        assert path.read_text("utf-8") == expected
        assert SiteConfig.load(path).galleries[-1] == str(tmp_path / "my door")


def test_faces_on_which_the_federation_trains_are_no_strangers(folder: Path, door: Path, tmp_path: Path) -> None:
    """Public faces and the site's own: as a face set and as photos, when a gallery is made, calibrated and rebuilt."""
    site = Site.open(folder / "site.yaml")
    public, own = site.public_faces, site.own_faces
    pixels = public.images(range(len(public)))
    renamed = FaceSet(pixels, public.labels, [f"anybody {number}" for number in range(public.num_identities)])
    for label, name in enumerate(renamed.identities):
        (tmp_path / "photos" / name).mkdir(parents=True)
        image = renamed.images(renamed.indices_of(label)[:1])[0]
        assert cv2.imwrite(str(tmp_path / "photos" / name / "one.jpg"), image[:, :, ::-1])
    public.save(tmp_path / "set")
    rate: dict[str, Any] = {"quality": "off", "fpir": float(RATE)}
    with Recognizer.open(door) as recognizer, newest_model(site) as (_, model):
        for strangers in (public, own, renamed, tmp_path / "photos", tmp_path / "set"):
            for way in (
                lambda given: create_site_gallery(site, tmp_path / "new", strangers=given, **rate),
                lambda given: create_site_gallery(site, tmp_path / "new", model=model, strangers=given, **rate),
                lambda given: recognizer.calibrate(strangers=given),
            ):
                with pytest.raises(FedfrError, match=r"no strangers to the model|same name|of this site is among"):
                    way(strangers)
        assert not (tmp_path / "new").exists()
        known = recognizer.status().trained_images
        assert known == len(public) + len(site.all_faces)
    for command in (
        ["calibrate", str(door)],
        ["gallery", "init", str(tmp_path / "new"), "--site", str(folder), "--quality", "off", "--fpir", RATE],
    ):
        answer = CliRunner().invoke(app, [*command, "--strangers", str(tmp_path / "photos")])
        assert "no strangers to the model" in str(answer.exception)
        assert "\n" not in str(answer.exception)
    shown = CliRunner().invoke(app, ["gallery", "show", str(door)]).stdout
    assert f"3, compared with {known} images on which the model was trained" in shown


def test_faces_on_which_a_run_trains_are_no_strangers(trained: Path, tmp_path: Path) -> None:
    """Of the public part and of every client; also if the model is named by its file in the run."""
    run = trained.parents[2] / "local"
    components = Experiment.open(run).components
    model = model_of_run(run, None, CLIENT)
    for chosen in (["--run", str(run), "--client", CLIENT], ["--model", str(model)]):
        for rows in (components.split.public, components.split.clients["client-02"].train):
            faces = components.faces.subset(rows)
            place = tmp_path / "faces"
            shutil.rmtree(place, ignore_errors=True)
            FaceSet(
                faces.images(range(len(faces))), faces.labels, [f"anybody {n}" for n in range(faces.num_identities)]
            ).save(place)
            options = ["--strangers", str(place), "--quality", "off", "--fpir", RATE]
            answer = CliRunner().invoke(app, ["gallery", "init", str(tmp_path / "new"), *chosen, *options])
            assert "no strangers to the model" in str(answer.exception)
            assert not (tmp_path / "new").exists()
