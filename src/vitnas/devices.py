"""The devices of this machine, by the names that torch gives them."""

from __future__ import annotations

import torch

from vitnas.errors import InputError


def resolve_device(name: str = "auto") -> torch.device:
    """Return a device by name: auto (the best there is), cpu, cuda, cuda:1, mps.

    Raises:
        InputError: there is no such device here; the message lists those that are.
    """
    there = available()
    if name == "auto":
        return torch.device(next((found for found in there if found != "cpu"), "cpu"))
    asked = f"{name}:0" if name == "cuda" else name
    if asked not in there:
        raise InputError(f"no device {name!r} here; available: auto, {', '.join(there)}")
    return torch.device(asked)


def available() -> list[str]:
    """Return the names of the devices of this machine, cpu first."""
    names = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    return [*names, "mps"] if torch.backends.mps.is_available() else names
