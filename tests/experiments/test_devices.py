"""Missing devices: one-line errors that say what is missing, without warnings of PyTorch."""

from __future__ import annotations

import ctypes
import warnings

import pytest
import torch

from fedfr.core.errors import FedfrError
from fedfr.experiments.devices import check_device


def has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def unavailable() -> bool:
    """Answer of PyTorch if the driver is too old."""
    warnings.warn("CUDA initialization: the driver is too old", stacklevel=1)
    return False


@pytest.mark.skipif(has_driver(), reason="this machine has an NVIDIA driver")
@pytest.mark.parametrize(
    ("cuda", "hip", "reason"),
    [
        (None, None, "this PyTorch is built without CUDA; install one built with it, or use cpu"),
        ("12.4", None, "no NVIDIA driver is found (libcuda.so.1); install it, or use cpu"),
        (None, "6.2", "ROCm shows no GPU to this PyTorch; check its driver and HIP_VISIBLE_DEVICES, or use cpu"),
    ],
)
def test_errors_for_missing_devices(
    monkeypatch: pytest.MonkeyPatch,
    recwarn: pytest.WarningsRecorder,
    cuda: str | None,
    hip: str | None,
    reason: str,
) -> None:
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(torch.cuda, "is_available", unavailable)
    with pytest.raises(FedfrError) as caught:
        check_device("cuda:1", "runtime.device")
    assert str(caught.value) == f"runtime.device = 'cuda:1', but {reason}"
    assert len(recwarn) == 0
