"""Where a run computes: one device by name, or the processes that torchrun or SLURM started."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from vitnas.devices import resolve_device
from vitnas.errors import InputError

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def make_fabric(device: str, precision: str) -> Fabric:
    """Return Lightning Fabric on one device, or on all processes of torchrun or SLURM, launched.

    Raises:
        InputError: there is no such device here, or it can't compute in float16.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    chosen = resolve_device(device)
    if precision == "auto":
        fast = chosen.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bf16-mixed" if fast else "32-true"
    if precision == "16-mixed" and chosen.type == "cpu":
        raise InputError("precision 16-mixed needs a GPU; on cpu use 32-true or bf16-mixed")
    nodes, local = process_grid()
    if nodes * local == 1:
        devices: int | list[int] = [chosen.index] if chosen.type == "cuda" else 1
        fabric = Fabric(accelerator=chosen.type, devices=devices, precision=precision)  # type: ignore[arg-type]
    else:
        # A subnet leaves blocks without gradient, which plain DDP would wait for.
        fabric = Fabric(
            accelerator=chosen.type,
            devices=local,
            num_nodes=nodes,
            strategy=DDPStrategy(find_unused_parameters=True),
            precision=precision,  # type: ignore[arg-type]
        )
    fabric.launch()
    return fabric


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
