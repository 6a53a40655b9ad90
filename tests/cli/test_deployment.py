"""``fedfr server`` and ``fedfr site`` on the command line, without starting processes."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Answer, Fedfr
from tests.support.deployment_folders import OTHER, RUN, SITE, Deployment, edit
from tests.support.https import Server, serving
from tests.support.neighbours import listening_for

from fedfr.cli import deployment_options
from fedfr.core.locks import locked
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.site_config import SiteConfig

NEEDED = "fedfr: sites on other machines need Flower; pip install 'fedfr[flower]'\n"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deployment")
    Deployment.make(folder)
    return folder


@pytest.fixture
def deployment(tmp_path: Path, prepared: Path) -> Deployment:
    return Deployment.copy_of(prepared, tmp_path)


@pytest.fixture
def server(deployment: Deployment) -> Iterator[Server]:
    """Serve the files that the proxy would serve."""
    with serving(deployment.coordinator.proxy.folder, deployment.coordinator.tls) as made:
        edit(deployment.site_file, server=made.address)
        yield made


def done(answer: Answer) -> str:
    assert (answer.code, answer.err) == (0, "")
    return answer.out


# From nothing to a submitted run, with the commands of the guide


@pytest.mark.filterwarnings("default:there is no face set:fedfr.faces.FacesWarning")
def test_the_steps_of_the_guide(fedfr: Fedfr, tmp_path: Path, faceset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("coordinator")
    said = done(fedfr("server", "init", folder, "--host", "fed.example.org", "--host", "192.0.2.7"))
    assert said.splitlines() == [
        "coordinator/server.yaml: federation at fed.example.org, 192.0.2.7, port 9443",
        "sites reach it as fed.example.org:9443 or 192.0.2.7:9443",
        "give coordinator/tls/ca.crt to every site; keep coordinator/tls/ca.key secret, preferably off this machine",
        "then: fedfr server register coordinator SITE SITE.key.pub, and fedfr server run coordinator",
    ]
    assert "9443" in done(fedfr("server", "init", folder, "--host", "fed.example.org"))
    assert json.loads(done(fedfr("server", "status", folder, "--json")))["runs"] == {}
    for name in ("north", "south"):
        options = ["--server", "fed.example.org:9443", "--ca", folder / "tls" / "ca.crt", "--faces", faceset]
        said = done(fedfr("site", "init", name, "--client", name, *options))
        assert said.splitlines()[0] == f"{name}/site.yaml: review it"
        assert SiteConfig.load(Path(name) / "site.yaml").faces.path == str(faceset)
        said = done(fedfr("server", "register", folder, name, f"{name}/site.key.pub"))
        assert said == f"coordinator/sites/{name}.pub: {name} may take part; a running server applies this at once\n"
    options[-1] = "absent"
    answer = fedfr("site", "init", "east", "--client", "east", *options)
    assert answer.code == 0
    assert answer.err == (
        f"fedfr: warning: there is no face set in {tmp_path / 'absent'}; import the faces there with `fedfr faces "
        "import SOURCE absent`, or correct `faces` in east/site.yaml\n"
    )
    said = done(fedfr("site", "init", "west", "--client", "west", *options[:-2]))
    assert "then: fedfr faces import SOURCE west/faces, fedfr site check west, and fedfr site run west" in said
    Path("first.yaml").write_text(
        f"faces: {{path: {faceset}}}\nsplit:\n  recipe: sites\n"
        "  settings: {clients: [north, south], generic_identities: 4}\nbaselines: []\n",
        "utf-8",
    )
    answer = fedfr("server", "submit", folder, "first", "first.yaml", "--set", "federation.rounds=3")
    assert answer.code == 0
    assert answer.out == "run first is submitted; give every site coordinator/runs/first/agreement.yaml\n"
    run = json.loads(done(fedfr("server", "status", folder, "--json")))["runs"]["first"]
    assert (run["state"], run["rounds"], [*run["sites"]]) == ("waiting", 3, ["north", "south"])
    assert "first: fedfr, round 0 of 3, waiting" in done(fedfr("server", "status", folder))
    assert done(fedfr("server", "withdraw", folder, "first")) == (
        "run first is withdrawn; continue it with `fedfr server submit coordinator first`\n"
    )
    assert fedfr("server", "submit", folder, "first").code == 0
    assert done(fedfr("server", "unregister", folder, "north")) == (
        "north is removed; a running server applies this at once. To readmit it, register a new key\n"
    )
    assert sorted(path.name for path in (folder / "sites").iterdir()) == ["south.pub", "south.sum"]
    # Secure sums: what is learned, and what to compare, is printed.
    for name in ("north", "west"):
        done(fedfr("server", "register", folder, name, f"{name}/site.key.pub"))
    Path("sums.yaml").write_text(
        Path("first.yaml").read_text("utf-8").replace("north, south", "north, south, west")
        + "federation: {secure: sum, largest_count: 100}\n",
        "utf-8",
    )
    said = done(fedfr("server", "submit", folder, "sums", "sums.yaml"))
    own = done(fedfr("site", "key", "north")).splitlines()
    assert f"key of north: {own[1].removeprefix('secure sums: ')}" in said.splitlines()
    assert own[0].startswith("connection: SHA256:")
    assert "2 sites that collude with the server can learn the update of another site exactly." in said
    assert Agreement.load(folder / "runs" / "sums" / "agreement.yaml").fingerprint in said
    assert "ada.crt, coordinator/tls/ada.key: hand them over in person, then delete" in done(
        fedfr("server", "admit", folder, "ada")
    )


# What check answers


def test_check_of_a_complete_site_exits_with_0(fedfr: Fedfr, deployment: Deployment, server: Server) -> None:
    lines = done(fedfr("site", "check", deployment.site)).splitlines()
    assert len(lines) == 16
    assert all(line.startswith("ok   ") for line in lines)
    found = json.loads(done(fedfr("site", "check", deployment.site, "--json")))
    assert [f"ok   {line['what']}" for line in found] == [line.partition(":")[0] for line in lines]
    assert {line["remedy"] for line in found} == {""}


def test_check_with_a_failure_exits_with_1(fedfr: Fedfr, deployment: Deployment, server: Server) -> None:
    (deployment.site / "site.key").chmod(0o644)
    answer = fedfr("site", "check", deployment.site)
    assert (answer.code, answer.err) == (1, "")
    (line,) = [line for line in answer.out.splitlines() if not line.startswith("ok   ")]
    assert line.startswith("FAIL key: the key ")
    assert line.endswith("; chmod 600 it, or create a new one")
    answer = fedfr("site", "check", deployment.site, "--json")
    assert answer.code == 1
    (wrong,) = [line for line in json.loads(answer.out) if line["remedy"]]
    assert wrong["what"] == "key"
    assert wrong["remedy"] == "chmod 600 it, or create a new one"


def test_check_of_a_folder_without_a_site_exits_with_1(fedfr: Fedfr, tmp_path: Path) -> None:
    answer = fedfr("site", "check", tmp_path)
    assert (answer.code, answer.err) == (1, "")
    assert answer.out == (
        f"FAIL configuration: {tmp_path} holds no site.yaml; create a site with `fedfr site init {tmp_path}`\n"
    )


@pytest.mark.parametrize("as_json", [True, False])
def test_exit_codes_of_the_coordinators_check(
    fedfr: Fedfr, deployment: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, as_json: bool
) -> None:
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name, **_: "/usr/sbin/nginx" if name == "nginx" else which(name))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10**12}))
    shown = (deployment.coordinator.tls / "server.crt").read_text("ascii")
    monkeypatch.setattr(ssl, "get_server_certificate", lambda address, timeout: shown)
    more = ["--json"] if as_json else []
    folder = deployment.coordinator.folder
    config = deployment.coordinator.config
    with locked(folder), listening_for(folder, config.port), listening_for(folder, config.inner_port):
        said = done(fedfr("server", "check", folder, *more))
        assert "FAIL " not in said
    answer = fedfr("server", "check", folder, *more)
    assert (answer.code, answer.err) == (1, "")
    assert f"`fedfr server run {folder}`" in answer.out
    answer = fedfr("server", "check", tmp_path, *more)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == (
        f"fedfr: {tmp_path} holds no server.yaml; create a coordinator with `fedfr server init {tmp_path}`\n"
    )


# A site's other commands


def test_the_public_faces_are_fetched(fedfr: Fedfr, deployment: Deployment, server: Server) -> None:
    shutil.rmtree(deployment.site / "public")
    answer = fedfr("site", "fetch", deployment.site)
    assert answer.code == 0
    assert answer.out == f"{deployment.site / 'public'}: 55 images of 11 identities, as agreed\n"
    server.asked.clear()
    assert fedfr("site", "fetch", deployment.site).out == answer.out
    assert server.asked == []


def test_a_method_without_public_faces_fetches_none(fedfr: Fedfr, deployment: Deployment) -> None:
    edit(deployment.site / "agreement.yaml", public="", method={"name": "fedavg"})
    assert done(fedfr("site", "fetch", deployment.site)) == "fedavg needs no public faces\n"


def test_status_of_a_site(fedfr: Fedfr, deployment: Deployment) -> None:
    found: dict[str, Any] = json.loads(done(fedfr("site", "status", deployment.site, "--json")))
    assert (found["client"], found["running"], found["rounds_kept"]) == (SITE, False, [])
    assert f"client: {SITE}\n" in done(fedfr("site", "status", deployment.site))
    assert "rounds kept: []\n" in done(fedfr("site", "status", deployment.site))


def test_status_shows_the_sites_of_a_coordinator(fedfr: Fedfr, deployment: Deployment) -> None:
    found = json.loads(done(fedfr("server", "status", deployment.coordinator.folder, "--json")))
    assert found["sites"] == [SITE, OTHER]
    assert [*found["runs"]] == [RUN]


# Without the extra

COMMANDS = [
    ["server", "init", "x", "--host", "localhost"],
    ["server", "register", "x", "north", "x.pub"],
    ["server", "unregister", "x", "north"],
    ["server", "admit", "x", "ada"],
    ["server", "check", "x"],
    ["server", "run", "x"],
    ["server", "submit", "x", "first"],
    ["server", "withdraw", "x", "first"],
    ["server", "status", "x"],
    ["site", "init", "x", "--client", "north", "--server", "localhost:1", "--ca", "ca.crt"],
    ["site", "check", "x"],
    ["site", "fetch", "x"],
    ["site", "run", "x"],
    ["site", "export", "x", "mine.safetensors"],
    ["site", "status", "x"],
]


@pytest.mark.parametrize("missing", ["flwr", "cryptography"])
@pytest.mark.parametrize("command", COMMANDS, ids=[" ".join(command[:2]) for command in COMMANDS])
def test_every_command_names_the_missing_extra(
    fedfr: Fedfr, command: list[str], missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(deployment_options, "find_spec", lambda name: None if name == missing else object())
    assert fedfr(*command) == Answer(2, "", NEEDED)
    assert [*tmp_path.iterdir()] == []


def test_commands_are_listed_without_the_extra(tmp_path: Path) -> None:
    """In a process where neither library can be imported."""
    text = "import sys; sys.modules.update(flwr=None, cryptography=None); from fedfr.cli.main import main; main()"
    command = [sys.executable, "-c", text, "site", "check", str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert (answer.returncode, answer.stdout, answer.stderr) == (2, "", NEEDED)
