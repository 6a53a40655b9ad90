"""Frames of generated videos."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from fedfr.core.errors import FedfrError
from fedfr.recognition.camera.frames import camera_frames


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Two seconds at 10 frames per second; the red channel of a frame is ten times its number."""
    path = tmp_path / "a video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    assert writer.isOpened()
    for number in range(20):
        frame = np.zeros((48, 64, 3), np.uint8)
        frame[:, :, 2] = 10 * number
        writer.write(frame)
    writer.release()
    return path


@pytest.mark.parametrize(("rate", "expected"), [(100.0, range(20)), (5.0, range(0, 20, 2)), (1.0, [0, 10])])
def test_a_video_is_read_at_the_rate(video: Path, rate: float, expected: range | list[int]) -> None:
    frames = list(camera_frames(str(video), rate))
    assert [round(float(frame.image[:, :, 0].mean()) / 10) for frame in frames] == list(expected)
    assert [frame.seconds for frame in frames] == pytest.approx([number / 10 for number in expected])
    assert frames[0].image.shape == (48, 64, 3)


def test_a_stream_yields_its_newest_frames_until_it_ends(video: Path) -> None:
    """A URL is read by a thread; frames that nobody waited for are skipped, and the end is an error."""
    frames: list[int] = []
    numbers = (round(float(frame.image[:, :, 0].mean()) / 10) for frame in camera_frames(f"file://{video}", 1000.0))
    with pytest.raises(FedfrError, match="no longer delivers"):
        frames.extend(numbers)
    assert frames
    assert frames == sorted(set(frames))
    assert frames[-1] == 19


def test_a_source_that_cannot_be_opened_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.avi"
    text.write_text("no video", encoding="utf-8")
    for source, message in (
        (str(tmp_path / "none.avi"), "no video file"),
        (str(text), "cannot open"),
        ("97", "cannot open camera 97"),
        (f"file://user:secret@{text}", "cannot open file://…@/"),
    ):
        with pytest.raises(FedfrError, match=message):
            next(camera_frames(source))
    with pytest.raises(FedfrError, match="rate"):
        next(camera_frames(str(text), 0))
    assert capfd.readouterr() == ("", "")
