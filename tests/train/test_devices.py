from __future__ import annotations

import pytest
import torch

from vitnas.errors import InputError
from vitnas.train import devices
from vitnas.train.devices import available, process_grid, resolve_device


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


@pytest.mark.parametrize(
    ("environment", "grid"),
    [
        ({}, (1, 1)),
        ({"WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8"}, (2, 8)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_NNODES": "2"}, (2, 4)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_NAME": "bash"}, (1, 1)),
    ],
)
def test_processes(
    environment: dict[str, str], grid: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_NNODES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert process_grid() == grid
