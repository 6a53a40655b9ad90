"""The personalised protocol against the original implementation's numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedfr.evaluation import gallery_templates, open_set_identification, personalized_verification


@pytest.fixture(scope="module")
def reference(reference_dir: Path) -> dict[str, np.ndarray]:
    return dict(np.load(reference_dir / "personalized_protocol.npz"))


def test_verification_exact_and_binned(reference: dict[str, np.ndarray]) -> None:
    labels = reference["query_labels"]
    own = labels < int(reference["num_enrolled"])
    for binned, key in ((False, "tar_exact"), (True, "tar_reference_histogram")):
        figures = personalized_verification(
            reference["query_features"], labels, own, [0.9, *reference["far"].tolist()], binned=binned
        )[1:]
        assert figures[0].genuine == int(reference["genuine_pairs"])
        assert figures[0].impostor == int(reference["impostor_pairs"])
        shown = [(figure, value) for figure, value in zip(figures, reference[key], strict=True) if figure.value]
        assert len(shown) == 5
        for figure, value in shown:
            assert figure.value == pytest.approx(value, rel=1e-4)
        assert figures[-1].value is None, "1.6 impostors behind the figure at 1e-6: refused"


def test_identification_in_the_released_convention(
    reference: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    templates, identities = gallery_templates(
        reference["gallery_image_features"], reference["gallery_image_labels"]
    )
    np.testing.assert_allclose(templates, reference["gallery_templates"], atol=1e-6)
    # The rule that refuses figures on fewer than ten impostors would hide most of these numbers.
    monkeypatch.setattr("fedfr.evaluation.figures.MINIMUM_IMPOSTORS", 0)
    figures = open_set_identification(
        templates, identities, reference["query_features"], reference["query_labels"], reference["fpir"].tolist()
    )
    released = [figure.value for figure in figures if figure.metric.startswith("TPIR(released)")]
    assert released == pytest.approx(reference["tpir_reference"].tolist(), rel=1e-4)
