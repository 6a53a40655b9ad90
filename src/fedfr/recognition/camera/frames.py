"""Frames of a camera, a video stream or a video file."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.faces.encoded_images import silence_opencv, swap_colours

__all__ = ["Frame", "camera_frames"]

_PATIENCE = 10.0
"""Seconds without a frame after which a camera counts as lost."""
_NO_LOG = "-8"
"""FFmpeg's log level at which nothing is written."""


@dataclass(frozen=True)
class Frame:
    """One image, uint8 RGB (height, width, 3), and when it was taken, in seconds since the first."""

    seconds: float
    image: NDArray[np.uint8]


def camera_frames(source: str, rate: float = 5.0) -> Iterator[Frame]:
    """Yield at most ``rate`` frames per second of ``source``: the number of a camera, a URL, or a video file.

    Of a camera or a URL always the newest frame is used; those that arrive while one is processed are skipped. Of a
    file every frame counts by its own time. Raises :class:`FedfrError` if the source cannot be opened, and when a
    camera no longer delivers images.
    """
    if not 0 < rate < float("inf"):
        raise FedfrError(f"the rate is {rate} frames per second; give a number above 0")
    live = source.isdigit() or "://" in source
    if not live and not Path(source).is_file():
        raise FedfrError(f"there is no video file {source}; give the number of a camera (0), a URL or a video file")
    # FFmpeg has a log of its own, whose level OpenCV sets when it opens the first video of a process.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", _NO_LOG)
    with silence_opencv():
        capture = cv2.VideoCapture(int(source)) if source.isdigit() else cv2.VideoCapture(source)
    if not capture.isOpened():
        what = f"camera {source}" if source.isdigit() else _shown(source)
        raise FedfrError(f"cannot open {what}; check that it is connected, is a video and is not in use")
    if live:
        yield from _live(_Newest(capture), source, 1 / rate)
        return
    try:
        yield from _recorded(capture, source, 1 / rate)
    finally:
        capture.release()


def _recorded(capture: cv2.VideoCapture, source: str, interval: float) -> Iterator[Frame]:
    per_second = capture.get(cv2.CAP_PROP_FPS)
    if not 0 < per_second < 1000:
        per_second = 25.0
    number, due = 0, 0.0
    while _grab(capture):
        seconds, number = number / per_second, number + 1
        if seconds + 1e-9 < due:
            continue
        due = max(due + interval, seconds)
        with silence_opencv():
            read, image = capture.retrieve()
        if read:
            yield Frame(seconds, _rgb(image))
    if number == 0:
        raise FedfrError(f"{source} holds no frame that can be read; give another video file")


def _grab(capture: cv2.VideoCapture) -> bool:
    with silence_opencv():
        return capture.grab()


def _live(newest: _Newest, source: str, interval: float) -> Iterator[Frame]:
    start = time.monotonic()
    try:
        while True:
            began = time.monotonic()
            image = newest.take(_PATIENCE)
            if image is None:
                raise FedfrError(f"{_shown(source)} no longer delivers images; check the camera and its connection")
            yield Frame(time.monotonic() - start, _rgb(image))
            time.sleep(max(0.0, interval - (time.monotonic() - began)))
    finally:
        newest.stop()


class _Newest:
    """The newest frame of a camera, read by a thread of its own so that no old frame waits in a buffer."""

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self._capture = capture
        self._changed = threading.Condition()
        self._image: NDArray[np.generic] | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._read, name="camera", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with silence_opencv():
            while not self._ended:
                read, image = self._capture.read()
                with self._changed:
                    self._image, self._ended = (image, self._ended) if read else (self._image, True)
                    self._changed.notify()
        self._capture.release()  # by this thread alone: a camera must not be released while it is read

    def take(self, patience: float) -> NDArray[np.generic] | None:
        """Wait for a frame that was not taken yet; None if the camera ends or ``patience`` seconds pass."""
        with self._changed:
            self._changed.wait_for(lambda: self._image is not None or self._ended, patience)
            image, self._image = self._image, None
            return image

    def stop(self) -> None:
        """Let the thread release the camera and end; it is not waited for if the camera does not answer."""
        self._ended = True
        self._thread.join(1.0)


def _shown(source: str) -> str:
    """Return a source without the name and password in a URL."""
    return re.sub("//[^/]*@", "//…@", source)


def _rgb(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    return swap_colours(np.asarray(image, dtype=np.uint8))
