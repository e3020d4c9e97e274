"""The processes that torchrun or SLURM start together, told by their environment without torch."""

from __future__ import annotations

import os


def process_grid() -> tuple[int, int]:
    """Return the number of nodes and of processes on each, as torchrun or SLURM announce them."""
    env = os.environ
    if "LOCAL_WORLD_SIZE" in env:
        local = int(env["LOCAL_WORLD_SIZE"])
        return int(env["WORLD_SIZE"]) // local, local
    if "SLURM_PROCID" in env and env.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        nodes = int(env.get("SLURM_NNODES", "1"))
        return nodes, int(env.get("SLURM_NTASKS", "1")) // nodes
    return 1, 1


def is_first_process() -> bool:
    """Tell whether this is the first of the processes that were started together, or alone."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "SLURM_PROCID"))


def launcher() -> int | None:
    """Return the number of the torchrun process that started this one, None if none did."""
    return os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None
