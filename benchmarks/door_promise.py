"""Share of strangers who pass at galleries' thresholds, against the promised 1 %, with generic and personalized models.

Run: ``python benchmarks/door_promise.py FACES --start FILE --out FOLDER [--keep FILE]``; FACES are the imported images
of Labeled Faces in the Wild, FILE the weights of a MobileFaceNet. Quarter of an hour of one core; ``--fedfr 5 15``
leaves out the large clients of `fedfr`, which take most of it. FOLDER keeps models and features, so that a repetition
continues where the last one stopped; ``--keep`` writes the results there.

For every model and 5, 15, 60 and 150 enrolled people, 20 galleries are calibrated with one half of the strangers and
tested with the other half. Strangers are people with fewer than five images who are not among the public faces; each
gives one image. Personalized models are those of `frozen-head` (a transform on the features of the starting model) and
of `fedfr` (backbone and transform, two rounds); a client's people are enrolled. Templates are means of training images;
half of the test images calibrate the share of own images that are rejected, the other half tests it. The fault that the
test must find is planted beside: the same galleries calibrated with the public people, on whom the models were trained
as negatives.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from door_galleries import Gallery, Trial, judge, promise_table, run_trial
from fedfr import Experiment, FaceSet, load_config
from fedfr.evaluation.unit_features import normalize
from fedfr.models import Personalized
from fedfr.training.features import extract_features
from fedfr.training.training_set import TrainingSet
from harness import place, sleeping_threads

GALLERIES, MOST_IMAGES, FEWEST_IMAGES, PUBLIC, COHORT = 20, 30, 5, 1000, 400
# Clients of a run by people per client. A model of fedfr needs features of its own, so there are fewer of them.
CLIENTS = {"frozen-head": {5: 20, 15: 20, 60: 7, 150: 2}, "fedfr": {5: 4, 15: 4, 60: 2, 150: 1}}
MOST_STRANGERS, MOST_PUBLIC = {"fedfr": 2600}, {"fedfr": 600}
TRAINING: Mapping[str, Mapping[str, Any]] = {
    "frozen-head": {"federation.rounds": 1, "local.epochs": 20, "local.batch_size": 32, "local.learning_rate": 0.01},
    "fedfr": {"federation.rounds": 2, "local.epochs": 2, "local.batch_size": 16, "local.learning_rate": 0.005},
}

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Run:
    """One run of a method, with ``size`` people per client; models are trained when they are first asked for."""

    faces: Path
    start: Path
    out: Path
    method: str
    size: int

    @cached_property
    def experiment(self) -> Experiment:
        """The run, begun or opened."""
        split = {
            "min_images": FEWEST_IMAGES,
            "clients": CLIENTS[self.method][self.size],
            "identities_per_client": self.size,
            "public_identities": PUBLIC,
        }
        overrides = [f"{name}={value}" for name, value in TRAINING[self.method].items()]
        tree = {
            "faces": {"path": str(self.faces)},
            "split": {"recipe": "lfw-fed", "settings": split},
            "model": {"backbone": "mobilefacenet-112x96", "start": str(self.start)},
            "pretrain": {"epochs": 0, "prototypes": "mean"},
            "method": {"name": self.method},
            "baselines": [],
            "runtime": {"precision": "bf16", "threads": torch.get_num_threads()},
        }
        self.out.mkdir(parents=True, exist_ok=True)
        settings = self.out / f"{self.method}-{self.size}.yaml"
        settings.write_text(json.dumps(tree), encoding="utf-8")  # JSON is YAML
        return Experiment.begin(load_config(settings, overrides), self.out / f"{self.method}-{self.size}")

    @property
    def images(self) -> FaceSet:
        """All images."""
        return self.experiment.components.faces

    def one_each(self, images: Indices) -> Indices:
        """Return the first image of every person."""
        _, first = np.unique(self.images.labels[images], return_index=True)
        return images[first]

    @cached_property
    def strangers(self) -> Indices:
        """One image of every person who is in no other part."""
        everyone = self.one_each(np.asarray(self.experiment.components.split.generic, np.int64))
        return np.random.default_rng(0).permutation(everyone)[: MOST_STRANGERS.get(self.method)]

    @cached_property
    def public(self) -> Indices:
        """One image of every public person."""
        everyone = self.one_each(np.asarray(self.experiment.components.split.public, np.int64))
        return np.random.default_rng(0).permutation(everyone)[: MOST_PUBLIC.get(self.method)]

    def models(self) -> Iterator[tuple[str, Personalized]]:
        """Train, if that has not been done, and yield the personalized model of every client."""
        start = self.experiment.pretrain(progress=False)
        (trained,) = self.experiment.method_runs()
        trained.run(start)
        for client in self.experiment.components.split.clients:
            found = trained.personal_module(client)
            assert found is not None
            yield client, found[1]

    def own(self, client: str) -> tuple[Indices, Indices]:
        """Return a client's images for training and for testing."""
        images = self.experiment.components.split.clients[client]
        return np.asarray(images.train, np.int64), np.asarray(images.test, np.int64)


class Features:
    """Raw features of images and mirror images under one network, kept in a file."""

    def __init__(self, run: Run, name: str) -> None:
        self._run = run
        self._path = run.out / f"features-{name}.npz"
        known = np.load(self._path) if self._path.exists() else {}
        self._rows = {int(image): row for row, image in enumerate(known["images"])} if known else {}
        self._both: Floats = known["both"] if known else np.empty((2, 0, 0), np.float32)

    def both(self, images: Indices, network: torch.nn.Module) -> Floats:
        """Return (2, n, D): features of ``images``, and of their mirror images."""
        missing = np.array(sorted({*images.tolist()} - self._rows.keys()), np.int64)
        if len(missing):
            compute = self._run.experiment.components.compute
            chosen, placed = TrainingSet([(self._run.images, missing, 0)]), compute.place(network)
            new = np.stack([extract_features(placed, chosen, compute, mirrored=side).numpy() for side in (False, True)])
            self._rows |= {int(image): len(self._rows) + row for row, image in enumerate(missing)}
            self._both = np.concatenate([self._both.reshape(2, -1, new.shape[2]), new], axis=1)
            np.savez(self._path, images=np.array([*self._rows]), both=self._both)
        return self._both[:, [self._rows[image] for image in images.tolist()]]


@dataclass
class Embedded:
    """Unit features of a run's images under one model, and the images of one gallery among them."""

    run: Run
    features: Mapping[int, Floats]

    @classmethod
    def under(cls, run: Run, images: Indices, both: Floats, transform: torch.nn.Module | None = None) -> Embedded:
        """Return the features of ``images``: the mean of the image and its mirror image, each transformed."""
        if transform is not None:
            with torch.no_grad():
                both = transform(torch.from_numpy(both)).numpy()
        units = normalize(both.sum(axis=0))
        return cls(run, dict(zip(images.tolist(), units, strict=True)))

    def of(self, images: Indices) -> Floats:
        """Return the features (n, D)."""
        return np.stack([self.features[image] for image in images.tolist()])

    def gallery(self, train: Indices, test: Indices, generator: np.random.Generator) -> Gallery:
        """Return the people of ``train`` as a gallery; half of the images of ``test`` calibrate, the others test."""
        parts: list[dict[str, Floats]] = [{}, {}, {}]
        for label in np.unique(self.run.images.labels[train]).tolist():
            own = generator.permutation(test[self.run.images.labels[test] == label])
            half = (len(own) + 1) // 2
            for part, images in zip(
                parts, (train[self.run.images.labels[train] == label], own[:half], own[half:]), strict=True
            ):
                part[str(label)] = self.of(images) if len(images) else np.empty((0, 1), np.float32)
        return Gallery(*parts)

    def trials(self, model: str, train: Indices, test: Indices, seed: int, *, trained: bool) -> Iterator[Trial]:
        """Yield the trials of one gallery; with ``trained``, also the one with the planted fault, else AS-norm."""
        generator = np.random.default_rng(seed)
        gallery = self.gallery(train, test, generator)
        order = generator.permutation(self.run.strangers)
        one, other = self.of(order[: len(order) // 2]), self.of(order[len(order) // 2 :])
        public = self.of(self.run.public)
        yield run_trial(model, gallery, one, other)
        if trained:
            yield run_trial(model, gallery, public, other, calibrated_on="public faces")
        else:
            yield run_trial(model, gallery, one, other, cohort=public[:COHORT])


def generic_trials(run: Run, size: int) -> Iterator[Trial]:
    """Yield the trials of the starting model: people drawn for every gallery."""
    counts = run.images.counts()
    many = np.flatnonzero(counts >= FEWEST_IMAGES)
    network, kept = run.experiment.components.new_backbone(), Features(run, "start")
    network.load_state_dict(run.experiment.pretrain(progress=False).weights)
    own = np.flatnonzero(np.isin(run.images.labels, many))
    images = np.concatenate([own, run.strangers, run.public])
    embedded = Embedded.under(run, images, kept.both(images, network))
    for seed in range(GALLERIES):
        generator = np.random.default_rng([seed, size])
        train, test = [], []
        for label in generator.choice(many, size, replace=False):
            mine = generator.permutation(np.flatnonzero(run.images.labels == label))[:MOST_IMAGES]
            tested = round(0.4 * len(mine))
            train.append(mine[tested:])
            test.append(mine[:tested])
        yield from embedded.trials("generic", np.concatenate(train), np.concatenate(test), seed, trained=False)


def personalized_trials(run: Run) -> Iterator[Trial]:
    """Yield the trials of the models that a run trains for its clients, as many galleries of each as are needed."""
    clients = CLIENTS[run.method][run.size]
    start = Features(run, "start")
    for number, (client, model) in enumerate(run.models()):
        train, test = run.own(client)
        images = np.concatenate([train, test, run.strangers, run.public])
        frozen = run.method == "frozen-head"
        kept = start if frozen else Features(run, f"{run.method}-{run.size}-{client}")
        both = kept.both(images, model.backbone)
        embedded = Embedded.under(run, images, both, model.transform)
        for draw in range(-(-(GALLERIES - number) // clients)):
            yield from embedded.trials(run.method, train, test, draw * clients + number, trained=True)


def all_trials(faces: Path, start: Path, out: Path, fedfr: Collection[int]) -> Iterator[Trial]:
    """Yield every trial; ``fedfr`` are numbers of people for which its models are trained."""
    first = Run(faces, start, out, "frozen-head", 5)
    for size in CLIENTS["frozen-head"]:
        yield from generic_trials(first, size)
    for method, sizes in CLIENTS.items():
        for size in sizes:
            if method != "fedfr" or size in fedfr:
                yield from personalized_trials(Run(faces, start, out, method, size))


def main() -> None:
    """Measure, print the table and keep the results."""
    sleeping_threads()
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("faces", type=Path, help="imported images of LFW")
    options.add_argument("--start", type=Path, required=True, help="weights of a MobileFaceNet, 112×96")
    options.add_argument("--out", type=Path, required=True, help="folder for models and features")
    options.add_argument("--keep", type=Path, help="file for the results")
    options.add_argument("--fedfr", type=int, nargs="*", choices=[*CLIENTS["fedfr"]], default=[*CLIENTS["fedfr"]])
    options.add_argument("--threads", type=int, default=1)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    trials = []
    for trial in all_trials(given.faces.resolve(), given.start.resolve(), given.out.resolve(), given.fedfr):
        trials.append(trial)
        print(trial, flush=True)
    sizes = " ".join(map(str, given.fedfr))
    command = f"python benchmarks/door_promise.py FACES --start mobilefacenet_casia.ckpt --out FOLDER --fedfr {sizes}"
    content = {"command": command, **place(), "trials": [asdict(trial) for trial in trials]}
    if given.keep:
        given.keep.parent.mkdir(parents=True, exist_ok=True)
        given.keep.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(promise_table(content))
    honest = [trial for trial in trials if trial.calibrated_on == "strangers"]
    print(json.dumps(judge(honest)))


if __name__ == "__main__":
    main()
