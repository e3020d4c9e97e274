from __future__ import annotations

import pytest

from vitnas.processes import is_first_process, process_grid


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


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"SLURM_PROCID": "0"}, True),
        ({"SLURM_PROCID": "3"}, False),
        ({"SLURM_PROCID": "0", "RANK": "1"}, False),  # torchrun on the first node
        ({"SLURM_PROCID": "1", "RANK": "8"}, False),
    ],
)
def test_one_process_is_the_first(
    environment: dict[str, str], first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_first_process() == first
