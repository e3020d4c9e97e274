"""Where a run computes: one device by name, or the processes that torchrun or SLURM started."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from vitnas.devices import resolve_device
from vitnas.errors import InputError
from vitnas.processes import process_grid
from vitnas.train.weights import shard

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.strategy import Strategy
    from torch.distributed.device_mesh import DeviceMesh

    from vitnas.train.recipe import Parallel
    from vitnas.train.runner import Runner


def make_fabric(device: str, precision: str, parallel: Parallel = "ddp") -> Fabric:
    """Return Lightning Fabric on one device, or on all processes of torchrun or SLURM, launched.

    `parallel` says what several processes share (`vitnas.train.recipe.TrainRecipe`); one process
    has all to itself.

    Raises:
        InputError: there is no such device here, or it can't compute in float16; or torchrun could
            not restart the processes.
    """
    from lightning_fabric import Fabric

    chosen = resolve_device(device)
    if precision == "auto":
        fast = chosen.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bf16-mixed" if fast else "32-true"
    if precision == "16-mixed" and chosen.type == "cpu":
        raise InputError("precision 16-mixed needs a GPU; on cpu use 32-true or bf16-mixed")
    nodes, local = process_grid()
    options: dict[str, Any] = {"accelerator": chosen.type, "precision": precision}
    if nodes * local == 1:
        fabric = Fabric(devices=[chosen.index] if chosen.type == "cuda" else 1, **options)
    else:
        check_restarts()
        strategy = _strategy(parallel, nodes * local)
        fabric = Fabric(devices=local, num_nodes=nodes, strategy=strategy, **options)
    fabric.launch()
    return fabric


def _strategy(parallel: Parallel, processes: int) -> Strategy:
    from lightning_fabric.strategies.ddp import DDPStrategy
    from lightning_fabric.strategies.model_parallel import ModelParallelStrategy

    if parallel == "ddp":
        return DDPStrategy()  # `Runner` spares it the search for what a subnet does not use
    return ModelParallelStrategy(_shard, data_parallel_size=processes, tensor_parallel_size=1)


def _shard(runner: Runner, mesh: DeviceMesh) -> Runner:
    shard(runner.model, mesh["data_parallel"])
    return runner


def share_out(fabric: Fabric, model: nn.Module) -> None:
    """Share a model out over processes as Fabric did with the one that it set up (`fsdp`)."""
    from lightning_fabric.strategies.model_parallel import ModelParallelStrategy

    assert isinstance(fabric.strategy, ModelParallelStrategy)
    shard(model, fabric.strategy.device_mesh["data_parallel"])


def check_restarts() -> None:
    """Check that processes which torchrun starts again would find each other.

    By default they read in torchrun's own store where those before them could be reached
    (https://github.com/pytorch/pytorch/issues/135712; so in torch 2.15, too).

    Raises:
        InputError: they wouldn't.
    """
    restarts = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0"))
    if restarts and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        raise InputError(
            f"--max-restarts {restarts}: the processes would not find each other after a restart; "
            "start torchrun with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in its environment and with "
            "--standalone or --rdzv-backend c10d"
        )
