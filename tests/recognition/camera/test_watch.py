"""A generated video of photographs is watched: each face is decided once."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.doors import FPIR
from tests.support.photograph_files import YUNET

from fedfr.faces import Detector, FaceSet, open_detector
from fedfr.models import UserPreprocessing
from fedfr.recognition.camera.frames import camera_frames
from fedfr.recognition.camera.voting import Voting
from fedfr.recognition.camera.watch import watch
from fedfr.recognition.decision import ACCEPT, REJECT
from fedfr.recognition.recognizer import Recognizer


@pytest.fixture
def photographs(data_dir: Path, models_dir: Path) -> list[NDArray[np.uint8]]:
    """Photographs of two people, RGB, each with one face."""
    detector = Detector(open_detector(models_dir / YUNET))
    found = []
    for folder in sorted(path for path in (data_dir / "lfw250_sample").iterdir() if path.is_dir()):
        images = (np.asarray(cv2.imread(str(file)), np.uint8)[:, :, ::-1] for file in sorted(folder.glob("*.jpg")))
        found += [image for image in images if len(detector.find(image)) == 1][:1]
    return found[:2]


def write_video(path: Path, frames: list[NDArray[np.uint8]]) -> None:
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (width, height))
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[:, :, ::-1]))
    writer.release()


def test_each_face_in_a_video_is_decided_once(
    tmp_path: Path, data_dir: Path, models_dir: Path, photographs: list[NDArray[np.uint8]]
) -> None:
    """First an enrolled person alone, then together with somebody else."""
    own, other = photographs
    both = np.concatenate([own, other], axis=1)
    alone = np.concatenate([own, np.zeros_like(other)], axis=1)
    write_video(tmp_path / "video.avi", [alone] * 3 + [both] * 3)
    people = sorted(path for path in (data_dir / "lfw112").iterdir() if path.is_dir())[:30]
    crops = np.stack([np.asarray(cv2.imread(str(min(path.iterdir()))), np.uint8)[:, :, ::-1] for path in people])
    with Recognizer.create(
        tmp_path / "door",
        model=models_dir / "mobilefacenet_casia.ckpt",
        user_preprocessing=UserPreprocessing("RGB", 127.5, 128.0),
        detector=models_dir / YUNET,
        strangers=FaceSet(crops, range(len(people)), [path.name for path in people]),
        quality="off",
        fpir=FPIR,
    ) as recognizer:
        assert recognizer.enrol("ada", [own]).accepted == 1
        decisions = recognizer.identify_all(both)
        assert sorted(decision.outcome for decision in decisions) == [ACCEPT, REJECT]
        assert recognizer.identify(both).reasons == ("several-faces",)
        before = len(recognizer.journal())
        seen = list(watch(recognizer, camera_frames(str(tmp_path / "video.avi"), 10.0), Voting(votes=2)))
        assert [(one.decision.outcome, one.decision.person) for one in seen] == [(ACCEPT, "ada"), (REJECT, None)]
        assert [one.seconds for one in seen] == pytest.approx([0.1, 0.4])
        assert seen[0].to_json()["decision"] == "accept"
        assert len(recognizer.journal()) == before + 2, "single frames are not in the journal"
