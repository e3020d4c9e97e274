from __future__ import annotations

import pytest
import torch

from vitnas import devices
from vitnas.devices import available, resolve_device
from vitnas.errors import InputError


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert available()[0] == "cpu"
    assert resolve_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(devices, "available", lambda: ["cpu", "cuda:0", "cuda:1"])
    assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda:0")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(InputError) as error:
        resolve_device("cuda:2")
    assert str(error.value) == "no device 'cuda:2' here; available: auto, cpu, cuda:0, cuda:1"
    monkeypatch.setattr(devices, "available", lambda: ["cpu"])
    assert resolve_device() == torch.device("cpu")
    with pytest.raises(InputError, match="no device 'gpu' here; available: auto, cpu"):
        resolve_device("gpu")
