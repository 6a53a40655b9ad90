"""Invalid input to the commands of a gallery: one line, and nothing changes."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import pytest
from tests.cli.conftest import Answer, Fedfr
from tests.support.doors import Door

from fedfr.recognition.gallery.gallery import Gallery


def refused(answer: Answer) -> str:
    """The error line of a mistake."""
    assert answer.code == 2, answer
    assert len(answer.err.splitlines()) == 1
    assert answer.err.startswith("fedfr: ")
    return answer.err


MISTAKES: list[tuple[str, str]] = [
    ("gallery init new --strangers strangers --model none.safetensors", "none.safetensors does not exist"),
    ("gallery init new --strangers strangers", "--model"),
    ("gallery init new --strangers strangers --model model.safetensors --run run", "--model"),
    ("gallery init new --strangers strangers --model model.safetensors --client a", "--client"),
    ("gallery init new --model model.safetensors", "--strangers"),
    ("gallery init new --model model.safetensors --strangers empty", "empty"),
    ("gallery init new --model model.safetensors --strangers none", "none"),
    ("gallery init new --model model.safetensors --strangers strangers --fpir nan", "fpir"),
    ("gallery init new --model model.safetensors --strangers strangers --fpir 0.001", "found 40 strangers"),
    ("gallery init new --model model.safetensors --strangers strangers --quality best", "quality"),
    ("gallery init new --run none --strangers strangers", "none"),
    ("gallery init door --model model.safetensors --strangers strangers --fpir 0.1", "not empty"),
    ("gallery init new --model model.safetensors --strangers strangers --detector model.safetensors", "detector"),
    ("gallery init new --model model.safetensors --strangers strangers --backbone no_such:B", "no module 'no_such'"),
    ("gallery rebuild door --model model.safetensors --backbone no_such:B", "no module 'no_such'"),
    ("gallery show empty", "is not a gallery"),
    ("gallery list none", "is not a gallery"),
    ("gallery remove door nobody", "nobody called 'nobody'"),
    ("gallery rebuild door", "--model"),
    ("gallery rebuild door --model damaged.safetensors", "damaged.safetensors"),
    ("gallery export door door/inside --new-passphrase-file model.safetensors", "passphrase"),
    ("enrol door ben empty --aligned", "holds no image"),
    ("enrol door ben none.png --aligned", "there is no photo none.png"),
    ("enrol door ben *.gif --aligned", "there is no photo *.gif"),
    ("enrol door ben one.png", "there is no detector"),
    ("enrol door \a one.png --aligned", "has the unprintable character U+0007; give 1 to 100 printable characters"),
    ("enrol door \udcff one.png --aligned", "has bytes that are not UTF-8"),
    (f"enrol door {'x' * 101} one.png --aligned", "has 101 characters; give 1 to 100"),
    ("enrol door \t one.png --aligned", "is empty"),
    ("calibrate door --fpir 0.001", "found 40 strangers"),
    ("calibrate door --fpir -1", "fpir"),
    ("identify door none.png --aligned", "there is no photo none.png"),
    ("identify door empty --aligned", "is a folder"),
    ("identify door one.png", "there is no detector"),
    ("verify door nobody one.png --aligned", "nobody called 'nobody'"),
    ("watch door --camera none.avi", "there is no video file none.avi"),
    ("watch door --camera one.txt", "cannot open one.txt"),
    ("watch door --camera one.txt --rate 0", "rate"),
    ("watch door --camera one.txt --window nan", "window"),
]


@pytest.fixture(scope="module")
def mistaken(gallery_place: Door, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which commands fail: nothing in it may change."""
    folder = tmp_path_factory.mktemp("mistakes") / "a place"
    shutil.copytree(gallery_place.folder.parent, folder)
    (folder / "empty").mkdir()
    (folder / "one.txt").write_text("text", encoding="utf-8")
    assert cv2.imwrite(str(folder / "one.png"), gallery_place.photos(0)[5][:, :, ::-1])
    (folder / "damaged.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9])
    gallery_place.strangers.save(folder / "strangers")
    return folder


@pytest.mark.parametrize(("command", "message"), MISTAKES)
def test_a_mistake_is_one_line_and_changes_nothing(
    fedfr: Fedfr, mistaken: Path, monkeypatch: pytest.MonkeyPatch, command: str, message: str
) -> None:
    monkeypatch.chdir(mistaken)

    def files() -> dict[str, bytes]:
        known = (path for path in mistaken.rglob("*") if path.is_file())
        content = {str(path): path.read_bytes() for path in known if not path.name.startswith((".lock", "gallery.db"))}
        with Gallery.open(mistaken / "door") as gallery:
            return {**content, "revision": str(gallery.revision).encode()}

    before = files()
    assert message in refused(fedfr(*command.split(" ")))
    assert files() == before
