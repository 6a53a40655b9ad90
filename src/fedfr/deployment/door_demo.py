"""``make door-demo``: from a federation to the doors of its sites, and on to the next round.

A coordinator and three sites train on the ORL faces, with real processes. Each site makes a gallery with its
personalized model, calibrated with the federation's strangers. Then people whom nobody has seen come to the doors.
Another run changes the models, and the galleries are rebuilt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.deployment.background import wait_for
from fedfr.deployment.demo import RUN, Demo, run_on_terminal
from fedfr.deployment.site import Site
from fedfr.deployment.site_gallery import (
    create_site_gallery,
    enrol_site_people,
    rebuild_arguments,
    rebuild_command,
    register_gallery,
)
from fedfr.faces import FaceSet
from fedfr.recognition.calibration.provable_rates import provable_rate
from fedfr.recognition.decision import ACCEPT
from fedfr.recognition.recognizer import Recognizer

__all__ = ["DoorDemo", "main"]

NEXT_RUN = "demo-2"
STRANGERS, RATE = 12, 0.25
SETTINGS = (
    "split.settings.clients=3",
    "split.settings.identities_per_client=3",
    "split.settings.public_identities=12",
    f"split.settings.stranger_identities={STRANGERS}",
    "baselines=[]",
    "federation.rounds=2",
    "pretrain.epochs=20",
    "runtime.threads=1",
)


@dataclass(frozen=True)
class Visits:
    """Number of images shown at a door, and of accepted ones: of the site's own people, and of people unknown to all.

    ``mistaken`` own images were accepted as another person. ``space`` identifies the model that decided.
    """

    own: int
    accepted: int
    mistaken: int
    unknown: int
    passed: int
    space: str | None

    def __str__(self) -> str:
        mistaken = f", {self.mistaken} are taken for another person" if self.mistaken else ""
        return (
            f"{self.accepted} of {self.own} images of its people are accepted{mistaken}; "
            f"{self.passed} of {self.unknown} images of unknown people pass"
        )


class DoorDemo:
    """The federation of ``demo`` and a gallery for each of its sites, in ``doors/<client id>``."""

    def __init__(self, demo: Demo, report: Callable[[str], None] = print) -> None:
        self.demo = demo
        self.report = report
        self.doors = {client: demo.folder / "doors" / client for client in demo.clients}
        components = demo.local.components
        # The generic people of the split: nobody trains on them, and no threshold is calibrated with them.
        self.unknown = components.faces.subset(components.split.generic)

    def run(self) -> tuple[dict[str, Visits], dict[str, Visits]]:
        """Train, open the doors, train again, and rebuild; return the visits before and after, by client id."""
        demo, report = self.demo, self.report
        report(f"created: a coordinator and {len(demo.clients)} sites; {STRANGERS} people are strangers")
        demo.submit()
        demo.start_all()
        wait_for(lambda: not demo.coordinator.submitted(), "the end of the run")
        report(f"{demo.coordinator.outcome(RUN)}; every site has a personalized model")
        for client in demo.clients:
            self.open_door(client)
        provable = f"{STRANGERS} strangers prove no less than {100 * provable_rate(STRANGERS):.0f} %"
        report(f"promised at every door: at most {100 * RATE:.0f} % of strangers pass; {provable}")
        before = {client: self.visit(client) for client in demo.clients}
        for client, visits in before.items():
            report(f"{client}: {visits}")
        self.train_again()
        after = {client: self.visit(client) for client in demo.clients}
        for client, visits in after.items():
            report(f"{client}, rebuilt: {visits}")
        return before, after

    def open_door(self, client: str) -> None:
        """Create the gallery of a site and enrol its people, as ``fedfr gallery init --site`` does.

        The first site only offers to rebuild it after another run, the others do it themselves.
        """
        site_file, door = self.demo.sites[client] / "site.yaml", self.doors[client]
        door.parent.mkdir(exist_ok=True)
        site = Site.open(site_file)
        with create_site_gallery(site, door, fpir=RATE) as recognizer:
            enrolled = enrol_site_people(site, recognizer)
            status = recognizer.status()
        register_gallery(site_file, door)
        if client != self.demo.clients[0]:
            text = site_file.read_text(encoding="utf-8")
            site_file.write_text(text.replace("rebuild: offer", "rebuild: automatic"), encoding="utf-8")
        people = sum(each.enrolled for each in enrolled)
        calibration = status.calibration
        if calibration is None:
            raise FedfrError(f"nobody is enrolled at the door of {client}; see {door}")
        self.report(f"{client}: a gallery with {people} people; {calibration.strangers_passing().text}")

    def visit(self, client: str) -> Visits:
        """Show the site's test images and those of unknown people at its door."""
        faces, division = Site.open(self.demo.sites[client] / "site.yaml").partitioned_faces
        own = faces.subset(division.test)
        with Recognizer.open(self.doors[client]) as recognizer:
            decisions = [recognizer.identify(image, aligned=True) for image in _images(own)]
            passed = sum(recognizer.identify(image, aligned=True).outcome == ACCEPT for image in _images(self.unknown))
            space = recognizer.gallery.active_space
        names = [own.identities[label] for label in own.labels.tolist()]
        accepted = [
            decision.person == name
            for decision, name in zip(decisions, names, strict=True)
            if decision.outcome == ACCEPT
        ]
        right = sum(accepted)
        return Visits(len(own), right, len(accepted) - right, len(self.unknown), passed, space)

    def train_again(self) -> None:
        """Run the federation again from the generic model; the galleries are rebuilt, by command or by their sites."""
        demo = self.demo
        start = demo.run / "generic.safetensors"
        demo.submit_run(NEXT_RUN, ["pretrain.epochs=0", f"model.start={start}"])
        self.report("another run is submitted; it begins with the generic model of the first")
        wait_for(lambda: not demo.coordinator.submitted(), "the end of the second run")
        self.report(f"{demo.coordinator.outcome(NEXT_RUN)}; the galleries keep their models until they are rebuilt")
        first, *others = demo.clients
        command = rebuild_command(self.doors[first], demo.sites[first])
        self._wait_for_line(first, command)
        self.report(f"{first} offers: {command.replace(f'{demo.folder}/', '')}")
        demo.call(rebuild_arguments(self.doors[first], demo.sites[first]))
        self.report(f"{first} is rebuilt by this command")
        for client in others:
            self._wait_for_line(client, "has the model of round")
            self.report(f"{client} has rebuilt its gallery itself")

    def _wait_for_line(self, client: str, text: str) -> None:
        log = self.demo.log(client)
        wait_for(lambda: text in log.read_text("utf-8", errors="replace"), f"{text!r} in {log}")


def _images(faces: FaceSet) -> list[NDArray[np.uint8]]:
    return list(faces.images(range(len(faces))))


def _run(demo: Demo, report: Callable[[str], None]) -> None:
    DoorDemo(demo, report).run()


def main() -> None:
    """Run the demonstration on the ORL faces and print its steps."""
    run_on_terminal(__doc__, Path("runs/door-demo"), SETTINGS, _run)


if __name__ == "__main__":
    main()
