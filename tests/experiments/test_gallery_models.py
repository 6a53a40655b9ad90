"""Models of a finished run for galleries: generic, personalized, and those that a method does not have."""

from __future__ import annotations

import pytest

from fedfr.core.errors import FedfrError
from fedfr.experiments.benchmark import Benchmark
from fedfr.experiments.gallery_models import chosen_model, model_of_run
from fedfr.recognition.photos.embedder import Embedder


def test_models_of_a_run(reported_benchmark: Benchmark) -> None:
    run = min(reported_benchmark.folder.rglob("config.yaml")).parent
    spaces = set()
    for client, role in ((None, "generic"), ("client-01", "personalized"), ("client-02", "personalized")):
        file = model_of_run(run, "fedfr", client)
        embedder = Embedder.open(file)
        assert embedder.model_role == role
        spaces.add(embedder.space)
    assert len(spaces) == 3
    assert chosen_model(None, run, "fedfr") == model_of_run(run, "fedfr")
    for method, client, message in (
        ("fedper", None, "did not run 'fedper'; it ran"),
        ("fedfr", "client-09", "has no client 'client-09'; it has client-01"),
        ("local", None, "no generic model; name a client"),
    ):
        with pytest.raises(FedfrError, match=message):
            model_of_run(run, method, client)
    with pytest.raises(FedfrError):
        model_of_run(run.parent / "none")
