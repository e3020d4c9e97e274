"""The weights of a run: trained, averaged, as they are or shared out over processes by FSDP2.

What is saved, evaluated and handed back are whole weights in the caller's own model, so that a run
can be continued with other processes, or with one.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from vitnas.compiling import blocks_of

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


class Weights:
    """A model in training and the moving average of its weights, if there is one.

    `trained` is `model` itself, or the copy of it that was shared out.
    """

    def __init__(self, model: nn.Module, trained: nn.Module, ema: ModelEmaV3 | None) -> None:
        self._model, self._trained, self._ema = model, trained, ema
        self._average = None if ema is None else ema.module
        if ema is not None and trained is not model:
            self._average = copy.deepcopy(model)

    @property
    def average(self) -> nn.Module | None:
        """The moving average as a whole model; up to date after `gather`."""
        return self._average

    def update(self, step: int) -> None:
        """Let the average follow a step."""
        if self._ema is not None:
            self._ema.update(self._trained, step=step)

    def gather(self) -> nn.Module:
        """Bring the whole weights into the model; return what is to be judged: the average, if any.

        All processes have to call it.
        """
        if self._trained is not self._model:
            self._model.load_state_dict(whole(self._trained.state_dict()))
            if self._ema is not None and self._average is not None:
                self._average.load_state_dict(whole(self._ema.module.state_dict()))
        return self._model if self._average is None else self._average

    def finite(self) -> bool:
        """Tell whether all weights are finite, as they were when last gathered."""
        return all(bool(p.isfinite().all()) for p in self._model.parameters())

    def state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Return the whole state of model, average and optimiser, the same for any processes.

        All processes have to call it, after `gather`.
        """
        return {
            "model": self._model.state_dict(),
            "optimizer": whole(optimizer.state_dict()),
            "ema": None if self._average is None else self._average.state_dict(),
        }

    def load(self, state: Mapping[str, Any], optimizer: torch.optim.Optimizer | None) -> None:
        """Take over what `state` returned, that of the optimiser only if one is given."""
        self._model.load_state_dict(state["model"])
        if self._average is not None:
            self._average.load_state_dict(state["ema"])
        if self._trained is not self._model:
            _share_out(state["model"], self._trained)
            if self._ema is not None:
                _share_out(state["ema"], self._ema.module)
        if optimizer is not None:
            optimizer.load_state_dict(_shared_optimizer(state["optimizer"], optimizer))


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Share a model out over processes in place: each block by itself, then the rest (FSDP2).

    The values are those of the first process.
    """
    from torch.distributed.fsdp import fully_shard

    for tensor in model.state_dict().values():
        torch.distributed.broadcast(tensor, 0)
    for block in blocks_of(model):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def whole(value: Any) -> Any:
    """Return nested values with tensors that are shared out made whole, by all processes."""
    if isinstance(value, DTensor):
        return value.full_tensor()
    if isinstance(value, Mapping):
        return {name: whole(item) for name, item in value.items()}
    return [whole(item) for item in value] if isinstance(value, list) else value


def _share_out(state: Mapping[str, Tensor], model: nn.Module) -> None:
    current = model.state_dict()
    model.load_state_dict({name: _like(tensor, current[name]) for name, tensor in state.items()})


def _shared_optimizer(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the state of an optimiser with tensors shared out as the parameters are."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if not any(isinstance(parameter, DTensor) for parameter in parameters):
        return state
    shared = {
        number: {
            name: _like(value, parameters[number])
            if isinstance(value, Tensor) and value.shape == parameters[number].shape
            else value
            for name, value in entry.items()
        }
        for number, entry in state["state"].items()
    }
    return {**state, "state": shared}


def _like(tensor: Tensor, other: Tensor) -> Tensor:
    """Share a whole tensor out as another one is."""
    if not isinstance(other, DTensor):
        return tensor
    found: Tensor = distribute_tensor(tensor.to(other.device), other.device_mesh, other.placements)
    return found
