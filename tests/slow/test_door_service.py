"""`fedfr serve` as a process: TLS and tokens, clients of CompreFace, garbage, bounded memory, and its end."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.fuzz.mutator import Mutator
from tests.support.https import authority_in

from fedfr import FaceSet
from fedfr.models import Contract, Preprocessing, build_backbone, embedding_space, save_model
from fedfr.recognition import Recognizer

pytestmark = pytest.mark.slow

SDK = """
import json, sys
from compreface import CompreFace
from compreface.service import RecognitionService
from compreface.collections import FaceCollection, Subjects
key, port, first, second, stranger = sys.argv[1:]
service = CompreFace("https://localhost", port).init_face_recognition(key)
faces, subjects = service.get_face_collection(), service.get_subjects()
said = {}
said["add"] = [faces.add(image_path=path, subject="grace") for path in (first, second)]
said["list"] = faces.list()
said["recognize"] = service.recognize(image_path=second, options={"limit": 0, "prediction_count": 1, "status": True})
said["stranger"] = service.recognize(image_path=stranger, options={"det_prob_threshold": 0.8})
image = said["add"][0]["image_id"]
said["verify"] = faces.verify(image_path=second, image_id=image)
said["no image"] = service.recognize(image_path=sys.executable)
said["unknown"] = faces.add(image_path=first, subject="unknown")
said["subject"] = subjects.add("new")
said["update"] = subjects.update("new", "newer")
said["subjects"] = subjects.list()
said["delete"] = faces.delete(image)
said["delete subject"] = subjects.delete("newer")
said["delete all"] = faces.delete_all("grace")
said["left"] = subjects.list()
print(json.dumps(said))
"""


def face(person: int, image: int) -> NDArray[np.uint8]:
    """A crop of coloured squares: the person decides the colours, the image the noise."""
    colours = np.random.default_rng(person).integers(0, 200, (7, 7, 3))
    noise = np.random.default_rng((person, image)).integers(0, 50, (112, 112, 3))
    return np.asarray(colours.repeat(16, axis=0).repeat(16, axis=1) + noise, np.uint8)


def photo(person: int, image: int) -> bytes:
    return bytes(cv2.imencode(".png", face(person, image)[:, :, ::-1])[1].tobytes())


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    """A gallery with one enrolled person, and a certificate for this machine beside it."""
    weights = build_backbone("slimface-small", seed=0).state_dict()
    contract = Contract("slimface-small", 128, Preprocessing(), embedding_space(weights))
    save_model(tmp_path / "model.safetensors", weights, contract)
    strangers = FaceSet(np.stack([face(100 + n, 0) for n in range(40)]), range(40), [f"{n}" for n in range(40)])
    with Recognizer.create(
        tmp_path / "door", model=tmp_path / "model.safetensors", strangers=strangers, quality="off", fpir=0.1
    ) as recognizer:
        assert recognizer.enrol("ada", [photo(1, 0), photo(1, 1)], aligned=True).enrolled
    authority_in(tmp_path)
    return tmp_path / "door"


class SlowFile(io.BytesIO):
    """A file whose second half can be read only once an event is set."""

    def __init__(self, content: bytes, sent: threading.Semaphore, go: threading.Event) -> None:
        super().__init__(content)
        self._sent, self._go = sent, go

    def read(self, size: int | None = -1, /) -> bytes:
        half = len(self.getbuffer()) // 2
        if self.tell():
            self._sent.release()
            self._go.wait(30)
        return super().read(half + 1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fedfr(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "fedfr", *arguments], capture_output=True, text=True, timeout=60)


def token_of(gallery: Path, scope: str, name: str = "") -> str:
    made = fedfr("gallery", "token", "add", str(gallery), name or scope, "--scope", scope, "--json")
    return str(json.loads(made.stdout)["token"])


@contextmanager
def serving(gallery: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process of a service with TLS, once its gallery is open, and its address."""
    port = free_port()
    folder = gallery.parent
    command = [
        sys.executable, "-m", "fedfr", "serve", str(gallery), "--port", str(port), "--threads", "1",
        "--tls-cert", str(folder / "server.crt"), "--tls-key", str(folder / "server.key"), *arguments,
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    address = f"https://localhost:{port}"
    try:
        with secure(gallery) as client:
            seen = set()
            for _ in range(600):
                try:
                    seen.add(client.get(f"{address}/v1/health").json()["status"])
                except httpx.TransportError:
                    assert process.poll() is None, process.communicate()[0]
                if "ok" in seen:
                    break
                time.sleep(0.05)
            assert "ok" in seen
        yield process, address
    finally:
        process.kill()
        process.communicate()


def secure(gallery: Path, token: str = "") -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    context = ssl.create_default_context(cafile=str(gallery.parent / "ca.crt"))
    return httpx.Client(verify=context, headers=headers, timeout=60)


def resident(process: subprocess.Popen[str]) -> int:
    """Memory of a process in MiB."""
    (line,) = (each for each in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "VmRSS" in each)
    return int(line.split()[1]) // 1024


def test_compreface_sdk_works_unchanged(gallery: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "sdk")], check=True)
    pip = [str(tmp_path / "sdk/bin/python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    # The SDK asks for a release of requests-toolbelt that does not work with urllib3 2.
    needs = [
        "compreface-sdk==0.6.0",
        "requests-toolbelt==1.0.0",
        "requests",
        "urllib3",
        "idna",
        "certifi",
        "charset-normalizer",
    ]
    installed = subprocess.run([*pip, "--no-deps", *needs], capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"compreface-sdk cannot be installed here: {installed.stderr.splitlines()[-1]}")
    for name, person, image in (("first", 7, 0), ("second", 7, 1), ("stranger", 100, 5)):
        (tmp_path / f"{name}.png").write_bytes(photo(person, image))
    key = json.loads(fedfr("gallery", "token", "add", str(gallery), "sdk", "--scope", "admin", "--json").stdout)[
        "token"
    ]
    (tmp_path / "sdk.py").write_text(SDK, encoding="utf-8")
    with serving(gallery) as (_, address):
        images = [str(tmp_path / f"{name}.png") for name in ("first", "second", "stranger")]
        ran = subprocess.run(
            [str(tmp_path / "sdk/bin/python"), str(tmp_path / "sdk.py"), key, address.rpartition(":")[2], *images],
            capture_output=True,
            text=True,
            env={**os.environ, "REQUESTS_CA_BUNDLE": str(tmp_path / "ca.crt")},
        )
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert [each["subject"] for each in said["add"]] == ["grace", "grace"]
    assert [each["subject"] for each in said["list"]["faces"]] == ["ada", "ada", "grace", "grace"]
    (found,) = said["recognize"]["result"]
    assert found["subjects"][0]["subject"] == "grace"
    assert found["subjects"][0]["similarity"] >= 0.9
    (found,) = said["stranger"]["result"]
    assert found["subjects"] == [{"subject": "unknown", "similarity": 0.0}]
    assert said["verify"]["result"][0]["subject"] == "grace"
    assert (said["no image"]["code"], said["unknown"]["code"]) == (21, 36)
    assert said["update"] == {"updated": "true"}
    assert said["subjects"] == {"subjects": ["ada", "grace", "newer"]}
    assert said["delete"] == {"image_id": said["add"][0]["image_id"], "subject": "grace"}
    assert said["delete all"] == {"deleted": 1}
    assert said["left"] == {"subjects": ["ada"]}


def test_requests_are_finished_at_the_end_and_memory_does_not_grow(gallery: Path) -> None:
    token = token_of(gallery, "door")
    with serving(gallery) as (process, address), secure(gallery, token) as client:
        assert httpx.get(f"{address}/v1/health", verify=False).status_code == 200
        with pytest.raises(httpx.TransportError):
            httpx.get(address.replace("https", "http") + "/v1/health")
        own = photo(1, 2)

        def identify(content: bytes = own) -> httpx.Response:
            return client.post(f"{address}/v1/identify", files={"file": content})

        mutator, noise = Mutator(3), os.urandom(6 << 20)
        levels = []
        for number in range(300):
            answer = identify(mutator.either(own) if number % 3 == 0 else noise if number % 3 == 1 else own)
            while answer.status_code == 429:
                time.sleep(float(answer.headers["retry-after"]))
                answer = identify()
            assert answer.status_code in {200, 413}
            assert number % 3 != 2 or answer.json()["decision"] == "accept"
            levels.append(resident(process))
        assert max(levels[-50:]) - max(levels[50:100]) < 20, levels[::20]

        # Four requests are half sent when the process is told to stop.
        sent, go = threading.Semaphore(0), threading.Event()
        answers: list[httpx.Response] = []
        with secure(gallery, token_of(gallery, "door", "late")) as late:

            def send_slowly() -> None:
                files = {"file": SlowFile(own, sent, go)}
                answers.append(late.post(f"{address}/v1/identify", files=files))

            threads = [threading.Thread(target=send_slowly) for _ in range(4)]
            for thread in threads:
                thread.start()
            assert all(sent.acquire(timeout=30) for _ in threads)
            assert late.get(f"{address}/v1/health").json()["status"] == "ok"  # it has read what came before
            process.send_signal(signal.SIGTERM)
            go.set()
            for thread in threads:
                thread.join()
        assert [answer.json()["decision"] for answer in answers] == ["accept"] * 4
        assert process.wait(30) == 0
        assert process.stdout is not None
        output = process.stdout.read()
    assert output.rstrip().endswith("stopped")
    assert "Traceback" not in output
    assert not any(word in output for word in (token, "ada"))


def test_mistakes_are_one_line(gallery: Path) -> None:
    with serving(gallery) as (_, address):
        port = address.rpartition(":")[2]
        refused = fedfr("serve", str(gallery), "--port", port)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
        assert f"port {port} of 127.0.0.1 is in use" in refused.stderr
    refused = fedfr("serve", str(gallery), "--host", "0.0.0.0")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1), refused.stderr
    assert "there is no token; create one with" in refused.stderr
    (gallery / "site.key").chmod(0o644)
    refused = fedfr("serve", str(gallery), "--port", "0")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1), refused.stderr
