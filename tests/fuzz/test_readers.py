"""Damaged files of all formats: every reader returns or raises a one-line error in bounded memory and time."""

from __future__ import annotations

import ast
import warnings
import zlib
from pathlib import Path

import pytest
from tests.support.fuzz.bounds import bounded
from tests.support.fuzz.readers import TARGETS
from tests.support.fuzz.targets import damage

import fedfr
from fedfr.faces.readers.image_reading import FacesWarning

INPUTS = 25


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_are_refused_or_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read(name, tmp_path, monkeypatch, seed=zlib.crc32(name.encode()), count=INPUTS)


def read(name: str, place: Path, monkeypatch: pytest.MonkeyPatch, seed: int, count: int) -> None:
    """Damage the files of a target so many times."""
    here = place / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    inside = place / "inside"
    inside.mkdir()
    with warnings.catch_warnings(), bounded(TARGETS[name].mebibytes):
        warnings.simplefilter("ignore", FacesWarning)
        damage(TARGETS[name], inside, seed, count)
    assert list(here.iterdir()) == []


READS = frozenset(
    [
        "read_bytes",
        "read_text",
        "read_file",
        "read_settings_file",
        "parse_json",
        "read_json",
        "read_json_lines",
        "map_array",
        "fromfile",
        "frombuffer",
        "open_memmap",
        "safe_open",
        "load_file",
        "imdecode",
        "safe_load",
        "DictReader",
        "genops",
        "ParquetFile",
        "unpack_from",
        "ZipFile",
        "InferenceSession",
        "load_pem_x509_certificate",
        "load_ssh_private_key",
        "load_ssh_public_key",
        "np.load",
        "torch.load",
        "json.load",
        "json.loads",
    ]
)
"""Calls by which a file's content, or a stranger's bytes, come in."""

MESSAGES = "messages: tests/fuzz/test_messages.py"
OWN = "reads what this machine's own processes wrote, through files.read_json"
ELSEWHERE = {
    "core.code_identity": "source files of installed packages, hashed as they are",
    "engines.flower.wire": MESSAGES,
    "federation.messages": MESSAGES,
    "federation.reply_order": MESSAGES,
    "experiments.components": OWN,
    "experiments.run_start": OWN,
    "experiments.run_sets": OWN,
    "deployment.checks": OWN,
    "deployment.demo": OWN,
    "deployment.server_app": OWN,
    "deployment.status": OWN,
    "deployment.warm_worker": "arguments from programs of the same user: tests/deployment/test_warm_worker.py",
    "faces.readers.photograph_import": OWN,
    "faces.alignment.photographs.workspace": OWN,
    "deployment.listeners": "the kernel's lists below /proc",
    "cli.gallery_options": "a passphrase: any text of one line",
    "deployment.door_demo": "files that it wrote",
    "deployment.site_gallery": "site.yaml, which SiteConfig.load has read before",
    "cli.site_erasure": "a line of a public key, which Receipt.check reads",
    "deployment.erasure.execution": "files in which names are searched, as bytes",
    "deployment.erasure.generic_remedy": OWN,
    "deployment.erasure.remains": "files in which names are searched, as bytes",
    "faces.erasing": OWN,
    "faces.name_mentions": "files in which names are searched, as bytes",
    "federation.withholding_client": OWN,
    "experiments.reused_results": "files of a finished run, whose readers have targets; copied as they are",
    "experiments.round_replay": "messages of a round that it repeated itself",
    "deployment.logs": "text of logs, shown as it stands",
    "deployment.machine_checks": "the kernel's facts below /proc",
    "deployment.processes": "the kernel's facts below /proc",
    "deployment.coordinator_service": "text of logs, shown as it stands",
    "deployment.site_folder": "a certificate, through load_certificate",
    "faces.alignment.detection": "a detector is read only where its SHA-256 is known or confirmed",
    "faces.writers.recordio": "writes",
    "core.locks": "the kernel's lists below /proc",
    "core.memory": "the kernel's facts below /proc",
    "core.operating_system": "the kernel's facts below /proc",
    "reporting.page": "the package's own style and script",
    "privacy.secure_sum.stage_messages": "messages: tests/privacy/secure_sum/test_faulty_sites.py",
    "privacy.secure_sum.coordinator_record": "its own state: tests/privacy/secure_sum/test_faulty_sites.py",
    "privacy.secure_sum.coordinator": "its own state: tests/privacy/secure_sum/test_faulty_sites.py",
    "privacy.secure_sum.masks": "a buffer of its own",
    "privacy.person_dp.random_words": "words of a cipher stream that it made",
    "recognition.trained_people": "hashes that it made, sealed in the gallery",
    "recognition.service.body": "requests: tests/recognition/service/test_fuzz.py and test_body.py",
    "recognition.service.page_files": "the package's own page",
    "reporting.tracking": "a file of ours that is written over",
}
"""Modules that read and have no target here, and why."""


def _called(node: ast.Call) -> str:
    """``np.load`` for that and the like, else the last name."""
    function = node.func
    if isinstance(function, ast.Name):
        return function.id
    name = function.attr if isinstance(function, ast.Attribute) else ""
    owner = function.value.id if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) else ""
    return f"{owner}.{name}" if name in ("load", "loads") else name


def test_no_reader_is_forgotten() -> None:
    """Every module that reads input is covered by a target or listed with the reason why not."""
    root = Path(fedfr.__file__).parent
    found = set()
    for path in root.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if READS & {_called(node) for node in ast.walk(tree) if isinstance(node, ast.Call)}:
            found.add(".".join(path.relative_to(root).with_suffix("").parts))
    covered = {module for target in TARGETS.values() for module in target.covers} | ELSEWHERE.keys()
    assert sorted(found - covered) == []
    assert [module for module in covered if not (root / f"{module.replace('.', '/')}.py").is_file()] == []
