"""An IJB benchmark in the published layout: contents, counts and required files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.support.ijb_reading import LISTS, opened
from tests.support.ijb_set import IjbSet, make_ijb

from fedfr.core.errors import FedfrError
from fedfr.faces.readers.ijb import IJB_KINDS, find_ijb
from fedfr.faces.readers.ijb.template_pairs import rows_of


def test_the_whole_content_is_read(made: IjbSet) -> None:
    ijb = opened(made)
    images = ijb.images
    ids = images.template_ids.tolist()
    assert images.names == tuple(name for name, _, _ in made.images)
    assert ids == sorted({template for _, template, _ in made.images})
    assert [ids[row] for row in images.templates] == [template for _, template, _ in made.images]
    together = [(template, medium) for _, template, medium in made.images]
    assert images.media_sizes.tolist() == [together.count(each) for each in together]
    assert {1, 2} == set(images.media_sizes.tolist())
    np.testing.assert_array_equal(images.points.reshape(-1, 10), np.array(made.points, np.float32))
    np.testing.assert_array_equal(images.faceness, np.array(made.scores, np.float32))
    pairs = zip(ijb.pairs.left, ijb.pairs.right, ijb.pairs.same, strict=True)
    assert [(ids[a], ids[b], int(same)) for a, b, same in pairs] == made.pairs
    for each in (*ijb.searches.galleries, ijb.searches.probes):
        wanted = made.searches["probe_mixed" if each.name == "probes" else each.name]
        assert {
            ids[row]: subject for row, subject in zip(each.templates, each.subjects.tolist(), strict=True)
        } == wanted
    assert ijb.differences() == []


def test_the_published_counts() -> None:
    """Whitelam et al. 2017 and Maze et al. 2018: every template is enrolled or a probe."""
    for kind in IJB_KINDS:
        assert kind.counts["templates"] == kind.counts["enrolled subjects"] + kind.counts["probes"]
    assert sum(IJB_KINDS[1].counts[name] for name in ("genuine pairs", "impostor pairs")) == 15_658_489


def test_another_count_is_named(made: IjbSet) -> None:
    ijb = find_ijb(made.folder)
    assert ijb is not None
    assert ijb.differences() == []  # nothing has been read yet
    assert len(ijb.images) == len(made.images)
    assert ijb.differences() == [f"{len(made.images)} images (469,375 published)", "30 templates (23,124 published)"]


def test_the_benchmark_is_recognized_by_its_files(tmp_path: Path) -> None:
    other = make_ijb(tmp_path / "b", subjects=2, probes=1, prefix="ijbb")
    for name in ("gallery_G1", "gallery_G2"):
        path = other.file(name)
        path.rename(path.with_name(path.name.replace("_G", "_S")))
    ijb = find_ijb(other.folder)
    assert ijb is not None
    assert ijb.kind.title == "IJB-B"
    assert [gallery.name for gallery in ijb.searches.galleries] == ["S1", "S2"]
    (other.folder / "meta" / "ijbc_face_tid_mid.txt").touch()
    with pytest.raises(FedfrError, match="meta holds files of IJB-B and IJB-C; put them in separate folders"):
        find_ijb(other.folder)
    assert find_ijb(tmp_path) is None


def test_missing_files_are_named_with_their_source(copy: IjbSet) -> None:
    for name in ("gallery_G2", "face_tid_mid"):
        copy.file(name).unlink()
    shutil.rmtree(copy.folder / "loose_crop")
    ijb = find_ijb(copy.folder)
    assert ijb is not None
    with pytest.raises(FedfrError) as caught:
        ijb.require("searches")
    message = str(caught.value)
    assert "lacks loose_crop, meta/ijbc_face_tid_mid.txt, meta/ijbc_1N_gallery_G2.csv of IJB-C" in message
    assert "distributed by NIST until 14 March 2023" in message
    with pytest.raises(FedfrError, match=r"lacks loose_crop, meta/ijbc_face_tid_mid.txt of IJB-C"):
        ijb.require("pairs")


@pytest.mark.parametrize("step", [3, 1 << 20])
def test_templates_are_found_by_their_numbers(step: int) -> None:
    """Small numbers by a table, large ones by a search."""
    known = np.array([2, 5, 6, 9], np.int64) * step
    asked = [[0, 2 * step], [6 * step, 5 * step + 1], [9 * step, 9 * step + 1], [999_999_999, 5 * step]]
    assert rows_of(np.array(asked), known).tolist() == [[-1, 0], [2, -1], [3, -1], [-1, 1]]


def test_images_in_sub_folders(copy: IjbSet) -> None:
    (copy.folder / "loose_crop" / "a").mkdir()
    (copy.folder / "loose_crop" / "1.jpg").rename(copy.folder / "loose_crop" / "a" / "1.jpg")
    for name in LISTS[:2]:
        path = copy.file(name)
        path.write_text("a/" + path.read_text())
    assert opened(copy).images.names[:2] == ("a/1.jpg", "2.jpg")
