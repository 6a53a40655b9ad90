"""Deployment with real processes: commands, TLS, keys, proxy, and attempts to take part without permission."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.tiny_experiment import bits, tiny_config

from fedfr.deployment.address import Address
from fedfr.deployment.background import wait_for
from fedfr.deployment.certificates import make_authority
from fedfr.deployment.checks import CheckResult, check_site
from fedfr.deployment.demo import RUN, Demo
from fedfr.deployment.processes import ControlClient
from fedfr.deployment.secrets import make_node_key, save_key
from fedfr.deployment.site import Site
from fedfr.deployment.site_gallery import create_site_gallery, gallery_states, rebuild_command, register_gallery

pytestmark = pytest.mark.slow

SETTINGS = (
    "split.settings.clients=3",
    "split.settings.identities_per_client=2",
    "deployment.poll=0.2",
    "model.backbone=slimface",
)
CONNECTED = "[Fleet.ActivateNode] Activated node_id="
SERVER_APP = """
import json, os, pathlib, time
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()

@app.main()
def main(grid, context):
    while len(grid.get_node_ids()) < 3:
        time.sleep(0.5)
    messages = [Message(RecordDict({"x": ConfigRecord({"y": 1})}), node, "train") for node in grid.get_node_ids()]
    answers = grid.send_and_receive(messages, timeout=120)
    told = [answer.error.reason if answer.has_error() else "it ran" for answer in answers]
    pathlib.Path(os.environ["FEDFR_RUNS"], "answers.json").write_text(json.dumps(told))
"""
CLIENT_APP = """
import pathlib
from flwr.app import Message, RecordDict
from flwr.clientapp import ClientApp

pathlib.Path({path!r}).write_text("code of a stranger ran")
app = ClientApp()

@app.train()
def train(message, context):
    return Message(RecordDict(), reply_to=message)
"""
PYPROJECT = """
[project]
name = "fedfr"
version = "1.0.0"
license = "Apache-2.0"
dependencies = []
[tool.flwr.app]
publisher = "fedfr"
[tool.flwr.app.components]
serverapp = "strange.server:app"
clientapp = "strange.client:app"
"""


@pytest.fixture
def demo(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Demo]:
    (tmp_path / "config").mkdir()
    config = tiny_config(tmp_path / "config", *SETTINGS, *getattr(request, "param", ()))
    with Demo(tmp_path / "demo", config) as made:
        yield made


def says(demo: Demo, name: str, text: str) -> Callable[[], bool]:
    return lambda: text in demo.log(name).read_text("utf-8", errors="replace")


def tensors(demo: Demo) -> dict[str, bytes]:
    """The coordinator's models and the sites' private states, under the names of a local run."""
    found = {name: value for name, value in bits(demo.run).items() if not name.startswith("proxy")}
    for client, site in demo.sites.items():
        for name, value in bits(site / "private").items():
            found[f"clients/{client}/{name.partition('/')[2]}"] = value
    return found


def refuse_foreign_bundle(demo: Demo, folder: Path) -> None:
    """Submit a bundle with code at the SuperLink: every site refuses it before it is unpacked."""
    ran = folder / "ran"
    package = folder / "bundle" / "strange"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "server.py").write_text(SERVER_APP, encoding="utf-8")
    (package / "client.py").write_text(CLIENT_APP.format(path=str(ran)), encoding="utf-8")
    (package.parent / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    inner = Address("127.0.0.1", demo.coordinator.config.inner_port)
    control = ControlClient(inner, folder / "intruder", demo.coordinator.tls / "ca.crt")
    control.flwr("run", str(package.parent), "fedfr")
    answers = demo.coordinator.runs / "answers.json"
    wait_for(answers.exists, "the answers of the sites", 300)
    assert answers.read_text("utf-8").count("this site runs only fedfr's own bundle: it has") == 3
    assert not ran.exists()


@pytest.mark.parametrize("demo", [("split.settings.stranger_identities=2",)], indirect=True)
def test_an_undisturbed_run_equals_the_local_one_bit_for_bit(demo: Demo, tmp_path: Path) -> None:
    """Afterwards a site rebuilds its gallery for the new model, and all refuse a bundle with code."""
    demo.local.run()
    demo.submit()
    demo.start_all()
    wait_for(lambda: not demo.coordinator.submitted(), "the end of the run")
    assert demo.coordinator.outcome(RUN) == f"run {RUN} has ended"
    assert demo.events("refused") == []
    assert says(demo, "coordinator", CONNECTED)()
    expected = {name: value for name, value in bits(demo.local.folder).items() if "/personal.safetensors" not in name}
    found = tensors(demo)
    assert len(expected) > 1000
    assert [name for name, value in expected.items() if found.get(name) != value] == []
    for client, site in demo.sites.items():
        Site.open(site / "site.yaml").export(demo.folder / f"{client}.safetensors")
        local = demo.local.folder / "clients" / client / "personal.safetensors"
        assert (demo.folder / f"{client}.safetensors").read_bytes() == local.read_bytes()
    # The running site notices a gallery with another model, and rebuilds it.
    client, door = demo.clients[0], demo.folder.parent / "door"
    site_file = demo.sites[client] / "site.yaml"
    demo.fetch(client)
    start = demo.run / "pretrained" / "generic.safetensors"
    create_site_gallery(Site.open(site_file), door, model=start, quality="off", fpir=0.8).close()
    assert register_gallery(site_file, door)
    command = rebuild_command(door, demo.sites[client])
    wait_for(says(demo, client, command), "the offer to rebuild the gallery")
    site_file.write_text(site_file.read_text("utf-8").replace("rebuild: offer", "rebuild: automatic"), "utf-8")
    wait_for(says(demo, client, "has the model of round 2"), "the rebuild of the gallery")
    assert [state.current for state in gallery_states(Site.open(site_file))] == [True]
    refuse_foreign_bundle(demo, tmp_path)
    # No key is on a command line or in a log.
    keys = [path for path in demo.folder.rglob("*.key") if path.name != "identities.key"]
    secrets = [path.read_text("ascii").splitlines()[1] for path in keys]
    assert len(secrets) == 8
    secrets += [path.read_bytes().hex() for path in demo.folder.rglob("identities.key")]
    for log in demo.folder.glob("*.log"):
        text = log.read_text("utf-8", errors="replace")
        assert not [secret for secret in secrets if secret in text]


def stages_of(path: Path, field: str) -> set[str]:
    """The stages in a record of secure sums; none if it does not exist, or belongs to a process that was killed."""
    with suppress(OSError, ValueError):
        return {*json.loads(path.read_text("utf-8"))[field]}
    return set()


@pytest.mark.parametrize(
    "demo",
    [("federation.secure=sum", "federation.largest_count=200", "deployment.hello=30")],
    indirect=True,
)
def test_secure_sums_survive_a_killed_site_and_a_killed_coordinator(demo: Demo) -> None:
    """A site is killed between two stages of a round, then the coordinator with all its processes in another.

    No round is lost, and the model is that of the undisturbed local run to the bit.
    """
    demo.local.run()
    demo.submit()
    demo.start_all()
    client, sums = demo.clients[-1], demo.run / "secure-sums"

    def answered() -> set[str]:
        paths = (demo.sites[client] / "private").glob("*/secure-sums/records/*.json")
        return set().union(*(stages_of(path, "answers") for path in paths))

    wait_for(lambda: "share" in answered(), "a site's shares")
    demo.kill(client)
    demo.start_site(client)
    wait_for(lambda: len(demo.events("round")) >= 1, "round 1")
    wait_for(lambda: any("share" in stages_of(path, "replies") for path in sums.glob("*/*-0002.json")), "round 2")
    demo.kill("coordinator")
    demo.start_server()
    wait_for(lambda: not demo.coordinator.submitted(), "the end of the run")
    assert demo.coordinator.outcome(RUN) == f"run {RUN} has ended"
    assert [(event["round"], event["clients"]) for event in demo.events("round")] == [(1, 3), (2, 3)]
    expected = bits(demo.local.folder / "rounds")
    assert len(expected) > 100
    found = bits(demo.run / "rounds")
    assert [name for name, value in expected.items() if found.get(name) != value] == []


@pytest.mark.parametrize("demo", [("federation.rounds=3", "deployment.join=5")], indirect=True)
def test_an_unregistered_key_is_rejected_during_a_run(demo: Demo) -> None:
    """Unregistered during a run: the SuperLink rejects the site, and the run continues without it."""
    gone = demo.clients[-1]
    demo.submit()
    demo.start_all()
    wait_for(lambda: len(demo.events("round")) >= 1, "round 1")
    site = demo.sites[gone] / "site.yaml"
    assert CheckResult("registered", "the site's key is registered") in check_site(site)
    demo.coordinator.unregister(gone)
    wait_for(lambda: not demo.coordinator.submitted(), "the end of the run")
    assert demo.coordinator.outcome(RUN) == f"run {RUN} has ended"
    assert [event["clients"] for event in demo.events("round")][-1] == 2
    assert {event["client"] for event in demo.events("refused")} == {gone}
    assert says(demo, "coordinator", f"the key of {gone} is no longer accepted")()
    log = demo.coordinator.folder / "debug.log"
    said = "the coordinator does not know this site's key"
    assert said in [line.found for line in check_site(site) if line.what == "registered"]
    wait_for(lambda: "/v1/fleet/activate-node 412 " in log.read_text("utf-8"), "the SuperLink's refusal")


@pytest.mark.parametrize("demo", [("federation.rounds=1", "deployment.join=90")], indirect=True)
def test_unregistered_and_impersonating_sites_are_refused(demo: Demo, tmp_path: Path) -> None:
    """Of three sites one has an unregistered key and one claims to be another; both are refused and named."""
    stranger, liar, honest = demo.clients
    for end in ("", ".pub"):
        (demo.sites[stranger] / f"site.key{end}").unlink()
    save_key(demo.sites[stranger] / "site.key", make_node_key())
    demo.submit()
    for client in demo.clients:
        config = demo.sites[client] / "site.yaml"
        demo_client = stranger if client == liar else client
        text = config.read_text("utf-8").replace(f'client: "{client}"', f'client: "{demo_client}"')
        if client == liar:
            # With a manifest of the client it poses as: only its key tells.
            (demo.sites[client] / "split.json").write_bytes(
                (demo.folder / "faces" / "sites" / liar / "split.json")
                .read_bytes()
                .replace(liar.encode(), stranger.encode())
            )
            text = text.replace(str(demo.folder / "faces" / "sites" / liar / "split.json"), "split.json")
        config.write_text(text, encoding="utf-8")
    demo.start_all()
    wait_for(lambda: not demo.coordinator.submitted(), "the end of the run")
    outcome = demo.coordinator.outcome(RUN)
    assert "1 of 3 clients delivered, the quorum is 2" in outcome

    reasons = {str(event["client"]): str(event["reason"]) for event in demo.events("refused")}
    assert reasons.keys() == {stranger, liar}
    assert reasons[stranger].startswith(f"{stranger} failed in round 1: its site is not connected (for ")
    assert reasons[liar].startswith(f"{liar} failed in round 1: its site is connected and cannot take part: node ")
    assert f"claims to be {stranger!r} but has the key of {liar!r}; it is ignored" in reasons[liar]
    said = (demo.run / "log.jsonl").read_text("utf-8")
    assert f"claims to be {stranger!r} but has the key of {liar!r}; it is ignored" in said
    assert [path.name for path in (demo.sites[honest] / "private").rglob("*.safetensors")]
    for client in (stranger, liar):
        assert not list((demo.sites[client] / "private").rglob("*.safetensors"))


def test_a_site_refuses_a_server_of_another_authority(demo: Demo, tmp_path: Path) -> None:
    """With an authority of the same name but another key, the site does not connect and logs why."""
    (client, *_) = demo.clients
    make_authority(tmp_path / "other", "demo")
    (demo.sites[client] / "ca.crt").write_bytes((tmp_path / "other" / "ca.crt").read_bytes())
    demo.submit()
    demo.start_server()
    demo.start_site(client)
    wait_for(says(demo, client, "CERTIFICATE_VERIFY_FAILED"), "the refusal", 120)
    assert not says(demo, "coordinator", CONNECTED)()


def test_a_key_that_others_can_read_is_refused(demo: Demo) -> None:
    (client, *_) = demo.clients
    (demo.sites[client] / "site.key").chmod(0o644)
    demo.start_site(client)
    process = demo.processes[client]
    deadline = time.monotonic() + 60
    while process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert process.returncode == 2
    assert says(demo, client, "is readable by other users; chmod 600 it")()
