"""Invalid input concerning faces and splits; the expected errors are in ``messages.yaml``."""

from __future__ import annotations

import json
import shutil

import numpy as np
from tests.support.bad_input import Case, Given, collector, cut
from tests.support.tiny_experiment import tiny_faces

from fedfr.faces import FaceSet
from fedfr.faces.writers.recordio import write_recordio_file

__all__ = ["CASES"]

CASES: list[Case] = []
case = collector(CASES)


@case
def no_faces_named(given: Given) -> list[str]:
    return ["train", "lfw-fed", "--out", str(given.place / "new run")]


@case
def faces_folder_missing(given: Given) -> list[str]:
    return given.train(faces=given.place / "nobody")


@case
def faces_folder_empty(given: Given) -> list[str]:
    (given.place / "people").mkdir()
    return given.train(faces=given.place / "people")


@case
def faces_folder_without_identities(given: Given) -> list[str]:
    people = given.sample("anna/1.png")
    shutil.move(str(people / "anna" / "1.png"), str(people / "1.png"))
    (people / "anna").rmdir()
    return ["faces", "import", str(people), str(given.place / "set")]


@case
def faces_are_a_file(given: Given) -> list[str]:
    people = given.sample("anna/1.png")
    return ["faces", "import", str(people / "anna" / "1.png"), str(given.place / "set")]


@case
def image_cut_short(given: Given) -> list[str]:
    people = given.sample("anna/1.png", "bo/1.png")
    cut(people / "bo" / "1.png", 0.5)
    return ["faces", "import", str(people), str(given.place / "set")]


@case
def image_of_no_bytes(given: Given) -> list[str]:
    people = given.sample("anna/1.jpg")
    (people / "anna" / "2.jpg").touch()
    return ["faces", "import", str(people), str(given.place / "set")]


@case
def text_called_jpg(given: Given) -> list[str]:
    people = given.sample("anna/1.jpg")
    (people / "anna" / "2.jpg").write_text("not an image", encoding="utf-8")
    return ["faces", "import", str(people), str(given.place / "set")]


@case
def import_over_other_files(given: Given) -> list[str]:
    people = given.sample("anna/1.png")
    (given.place / "set").mkdir()
    (given.place / "set" / "diary.txt").write_text("x", encoding="utf-8")
    return ["faces", "import", str(people), str(given.place / "set")]


@case
def import_over_another_import(given: Given) -> list[str]:
    return ["faces", "import", str(given.sample("anna/1.png")), str(given.faceset)]


@case
def records_of_another_kind(given: Given) -> list[str]:
    (given.place / "train.rec").write_text("not records", encoding="utf-8")
    return ["faces", "import", str(given.place / "train.rec"), str(given.place / "set")]


@case
def records_cut_short(given: Given) -> list[str]:
    write_recordio_file(given.place / "train.rec", [(0, bytes(100)), (1, bytes(100))], 2)
    cut(given.place / "train.rec", 0.5)
    (given.place / "train.idx").unlink()
    return ["faces", "import", str(given.place), str(given.place / "set"), "--link"]


@case
def records_that_are_a_folder(given: Given) -> list[str]:
    sets = ("faces.source=recordio", f"faces.path={given.place}")
    return given.train(*sets)


@case
def linking_a_folder(given: Given) -> list[str]:
    return ["faces", "import", str(given.sample("anna/1.png")), str(given.place / "set"), "--link"]


@case
def export_of_pixels_as_kept_images(given: Given) -> list[str]:
    out = str(given.place / "out")
    return ["faces", "export-recordio", str(given.faceset), str(given.run / "split.json"), out, "--encoding", "kept"]


@case
def export_over_other_files(given: Given) -> list[str]:
    return ["faces", "export-recordio", str(given.faceset), str(given.run / "split.json"), str(given.run)]


@case
def sheet_over_a_file(given: Given) -> list[str]:
    (given.place / "sheet.png").write_text("x", encoding="utf-8")
    return ["faces", "show", str(given.faceset), "--out", str(given.place / "sheet.png")]


@case
def face_set_cut_short(given: Given) -> list[str]:
    cut(given.faceset / "pixels.npy", 0.7)
    return given.train()


@case
def face_set_of_another_size(given: Given) -> list[str]:
    np.save(given.faceset / "pixels.npy", np.zeros((70, 96, 112, 3), np.uint8))
    return ["faces", "info", str(given.faceset)]


@case
def face_set_without_description(given: Given) -> list[str]:
    (given.faceset / "faces.json").unlink()
    return ["faces", "info", str(given.faceset)]


@case
def description_cut_short(given: Given) -> list[str]:
    cut(given.faceset / "faces.json", 0.3)
    return ["faces", "info", str(given.faceset)]


@case
def columns_cut_short(given: Given) -> list[str]:
    cut(given.faceset / "columns.dat", 0.5)
    return ["faces", "info", str(given.faceset)]


@case
def face_set_of_an_earlier_version(given: Given) -> list[str]:
    content = {"format": "fedfr-faces", "version": 1, "images": 1, "labels": [0], "names": ["a"]}
    (given.faceset / "faces.json").write_text(json.dumps(content), encoding="utf-8")
    return ["faces", "info", str(given.faceset)]


@case
def audit_of_a_set_cut_short(given: Given) -> list[str]:
    cut(given.faceset / "pixels.npy", 0.7)
    return ["faces", "audit", str(given.faceset)]


@case
def audit_of_nothing(given: Given) -> list[str]:
    return ["faces", "audit", str(given.place / "nobody")]


@case
def audit_with_the_split_of_others(given: Given) -> list[str]:
    tiny_faces(seed=5).save(given.place / "others")
    return ["faces", "audit", str(given.place / "others"), "--split", str(given.run / "split.json")]


@case
def audit_with_a_split_cut_short(given: Given) -> list[str]:
    shutil.copy(given.run / "split.json", given.place / "split.json")
    cut(given.place / "split.json", 0.5)
    return ["faces", "audit", str(given.faceset), "--split", str(given.place / "split.json")]


@case
def audit_with_a_model_cut_short(given: Given) -> list[str]:
    cut(given.run / "generic.safetensors", 0.9)
    return ["faces", "audit", str(given.faceset), "--model", str(given.run / "generic.safetensors")]


@case
def audit_with_a_text_for_a_model(given: Given) -> list[str]:
    (given.place / "m.pth").write_text("no weights", encoding="utf-8")
    return ["faces", "audit", str(given.faceset), "--model", str(given.place / "m.pth")]


@case
def audit_over_a_file(given: Given) -> list[str]:
    (given.place / "findings.csv").write_text("mine", encoding="utf-8")
    return ["faces", "audit", str(given.faceset), "--csv", str(given.place / "findings.csv")]


@case
def copies_neither_refused_nor_dropped(given: Given) -> list[str]:
    return given.split("duplicates=keep")


@case
def copies_in_training_and_test(given: Given) -> list[str]:
    pixels = np.load(given.faceset / "pixels.npy")
    pixels[4::5] = pixels[0::5]
    faces = FaceSet.load(given.faceset)
    labels, identities, names = faces.labels.tolist(), faces.identities, list(faces.names)
    shutil.rmtree(given.faceset)
    FaceSet(pixels, labels, identities, names).save(given.faceset)
    return given.split("clients=1")


@case
def too_few_identities(given: Given) -> list[str]:
    return given.train("split.settings.clients=5")


@case
def too_few_images(given: Given) -> list[str]:
    return given.train("split.settings.min_images=6")


@case
def nothing_left_to_train_on(given: Given) -> list[str]:
    return given.train("split.settings.test_count=5")


@case
def split_written_twice(given: Given) -> list[str]:
    (given.place / "split.json").write_text("{}", encoding="utf-8")
    return given.split()


@case
def manifest_of_other_faces(given: Given) -> list[str]:
    manifest = given.place / "split.json"
    shutil.copy(given.run / "split.json", manifest)
    tiny_faces(seed=5).save(given.place / "others")
    return given.train(f"split.manifest={manifest}", faces=given.place / "others")


@case
def identity_in_two_places(given: Given) -> list[str]:
    manifest = given.place / "split.json"
    content = json.loads((given.run / "split.json").read_text(encoding="utf-8"))
    content["public"]["images"] += "," + content["clients"]["client-01"]["train"].split(",")[0].split("-")[0]
    client = content["clients"]["client-01"]
    first, _, last = client["train"].split(",")[0].partition("-")
    client["train"] = ",".join([f"{int(first) + 1}-{last}", *client["train"].split(",")[1:]])
    manifest.write_text(json.dumps(content), encoding="utf-8")
    return given.train(f"split.manifest={manifest}")


@case
def manifest_cut_short(given: Given) -> list[str]:
    manifest = given.place / "split.json"
    shutil.copy(given.run / "split.json", manifest)
    cut(manifest, 0.5)
    return given.train(f"split.manifest={manifest}")
