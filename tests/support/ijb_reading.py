"""Reading of all lists of the generated benchmark."""

from __future__ import annotations

from dataclasses import replace

from tests.support.ijb_set import IjbSet

from fedfr.faces.readers.ijb import IjbFolder, find_ijb

LISTS = ("face_tid_mid", "name_5pts_score", "template_pair_label", "gallery_G1", "gallery_G2", "probe_mixed")


def opened(made: IjbSet) -> IjbFolder:
    """As if the counts of this set had been published, all of it read."""
    counts = {
        "images": len(made.images),
        "templates": len({template for _, template, _ in made.images}),
        "genuine pairs": sum(mark for _, _, mark in made.pairs),
        "impostor pairs": sum(1 - mark for _, _, mark in made.pairs),
        "enrolled subjects": sum(len(made.searches[name]) for name in ("G1", "G2")),
        "probes": len(made.searches["probe_mixed"]),
    }
    found = find_ijb(made.folder)
    assert found is not None
    ijb = IjbFolder(found.path, replace(found.kind, counts=counts))
    ijb.require("pairs", "searches")
    assert ijb.images is not None
    assert ijb.pairs is not None
    assert ijb.searches is not None
    return ijb


def content(ijb: IjbFolder) -> list[object]:
    """Everything read, to be compared."""
    images = ijb.images
    lists = [*ijb.searches.galleries, ijb.searches.probes]
    return [
        images.names,
        *(part.tolist() for part in (images.points, images.faceness, images.template_ids, images.templates)),
        images.media_sizes.tolist(),
        *(part.tolist() for part in (ijb.pairs.left, ijb.pairs.right, ijb.pairs.same)),
        *(part.tolist() for each in lists for part in (each.templates, each.subjects)),
    ]
