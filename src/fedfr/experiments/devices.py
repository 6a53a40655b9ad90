"""Check and opening of the devices named in a configuration."""

from __future__ import annotations

import ctypes
import warnings

import torch

from fedfr.config.schema import device_fault
from fedfr.core.errors import FedfrError

__all__ = ["check_device", "open_device"]


def check_device(name: str, setting: str) -> None:
    """Raise :class:`FedfrError` that names the ``setting`` where there is no such device; nothing is opened."""
    fault = device_fault(name)
    if fault is not None:
        raise FedfrError(f"{setting} = {fault}")
    kind, _, number = name.partition(":")
    if kind != "cuda":
        return
    with warnings.catch_warnings():
        # PyTorch warns of a driver that is too old; the error below gives the reason, in one line.
        warnings.simplefilter("ignore")
        available = torch.cuda.is_available()
    if not available:
        raise FedfrError(f"{setting} = {name!r}, but {_why_no_gpu()}, or use cpu")
    count = torch.cuda.device_count()
    if int(number or 0) >= count:
        raise FedfrError(f"{setting} = {name!r}, but there are {count} GPUs; the last is cuda:{count - 1}")


def _why_no_gpu() -> str:
    """Return what is missing and what to do: a build of PyTorch with CUDA, a driver, or a GPU that the driver shows."""
    if torch.version.hip is not None:
        return "ROCm shows no GPU to this PyTorch; check its driver and HIP_VISIBLE_DEVICES"
    if torch.version.cuda is None:
        return "this PyTorch is built without CUDA; install one built with it"
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver is found (libcuda.so.1); install it"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        return f"the NVIDIA driver shows no GPU that can be used ({reason}); check nvidia-smi and CUDA_VISIBLE_DEVICES"
    return "no GPU is found; check nvidia-smi and CUDA_VISIBLE_DEVICES"


def open_device(name: str, setting: str) -> torch.device:
    """Return the device called ``name`` after a first computation on it; raise as :func:`check_device` does."""
    check_device(name, setting)
    try:
        device = torch.device(name)
        torch.ones(1, device=device).double().sum().item()
    except (RuntimeError, AssertionError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FedfrError(f"{setting} = {name!r} cannot be used ({reason}); use another device or cpu") from error
    return device
