"""The elastic unit: it stores the largest parameters of a part of a net and runs slices of them.

A slice is run by a static twin: the unit's ordinary module at that size, without storage of its
own. Wrappers and compilers meet one unit at a time: sharding, checkpointing and `unit.compile()`
work on each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from vitnas import axes, slicing
from vitnas.models import Config, Kind, family
from vitnas.sharing import Side
from vitnas.storage import Bank, Step, Storage


class _Call(nn.Module):
    """Runs a function of a module, so that `functional_call` can reach more than its forward."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, function: Any, x: Tensor) -> Tensor:
        result: Tensor = self.module(x) if function is None else function(self.module, x)
        return result


@lru_cache(maxsize=4096)
def twin(name: str, config: Config, kind: Kind, training: bool, device: torch.device) -> _Call:
    """Return the static module of a kind: parameters on the meta device, buffers real.

    The module is only a program: `functional_call` lends it parameters for the time of a call
    (not thread-safe, as two calls of one kind would share it).
    """
    build = family(name).build_unit
    with torch.device("meta"):
        module = build(config, kind)
    if any(True for _ in module.buffers()):
        # Cached beyond this call, so neither its generator state nor its inference mode may show.
        with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
            real = build(config, kind)
        for path, buffer in real.named_buffers():
            owner, _, last = path.rpartition(".")
            with torch.inference_mode(False):
                module.get_submodule(owner)._buffers[last] = buffer.to(device)
    return _Call(module).train(training)


class Program:
    """How a unit runs one kind: what it takes from its storage, and the twin that this is lent to.

    It is looked up before the unit is called, so that a compiler which traces the unit meets plain
    values and no cache, and makes one graph for each kind.
    """

    def __init__(self, steps: tuple[Step, ...], twin: _Call) -> None:
        self.steps = steps
        self.twin = twin
        self.buffers = dict(twin.named_buffers())


class Elastic(nn.Module):
    """One unit: it owns the largest parameters and runs any kind as a slice of them.

    It takes over the children and parameters of the static module, so its state has the static
    model's names. Tensors that a policy keeps private to a size lie beside them in `banks`.
    """

    def __init__(self, module: nn.Module, storage: Storage) -> None:
        super().__init__()
        for name, child in module._modules.items():
            self.add_module(name, child)
        for name, parameter in module._parameters.items():
            self.register_parameter(name, parameter)
        for name, buffer in module._buffers.items():
            self.register_buffer(name, buffer, name not in module._non_persistent_buffers_set)
        self._storage = storage
        if storage.banks:
            self.banks = nn.ParameterDict(
                {bank.name: nn.Parameter(self._fresh(bank)) for bank in storage.banks.values()}
            )

    def _fresh(self, bank: Bank) -> Tensor:
        """Return a bank's first values: the shared slice, or where it is too small, its own kind's.

        Raises:
            ValueError: the shared tensor is too small, and no kind has all sizes of the bank.
        """
        stored, shared = self._storage, self.get_parameter(bank.parameter).detach()
        text = stored.layouts[bank.parameter]
        if all(n <= stored.largest.size[axis] for axis, n in bank.sizes):
            how = slicing.plan(text, stored.largest.sizes, bank.sizes, stored.sharing)
            return slicing.take(shared, how).clone()
        module = family(stored.family).build_unit(stored.config, bank.kind)
        found = module.get_parameter(bank.parameter).detach()
        if found.shape != axes.parse(text).shape(dict(bank.sizes)):
            raise ValueError(f"no kind of {stored.largest.role} fills {bank.name}: {bank.sizes}")
        return found.to(shared)

    def stored(self) -> Iterator[tuple[str, nn.Parameter, axes.Layout, dict[str, int]]]:
        """Yield name, tensor, layout and sizes of all that the unit stores, banks included."""
        layouts = self._storage.layouts
        for name, text in layouts.items():
            yield name, self.get_parameter(name), axes.parse(text), self._storage.largest.size
        for bank in self._storage.banks.values():
            layout = axes.parse(layouts[bank.parameter])
            yield f"banks.{bank.name}", self.banks[bank.name], layout, dict(bank.sizes)

    def steps(self, kind: Kind, side: Side | None = None) -> tuple[Step, ...]:
        """Return what one kind takes from the storage, on one side."""
        return self._storage.steps(kind, side)

    def program(self, kind: Kind, device: torch.device, side: Side | None = None) -> Program:
        """Return how to run one kind in the present mode, training or evaluation, on one side."""
        return _program(self._storage, kind, self.training, device, side)

    def slices(self, steps: tuple[Step, ...]) -> dict[str, Tensor]:
        """Return the parameters of one kind by name inside the unit, differentiable."""
        return {
            name: slicing.take(self.get_parameter(name) if bank is None else self.banks[bank], how)
            for name, bank, how in steps
        }

    def run(
        self, program: Program, parameters: Mapping[str, Tensor], x: Tensor, part: Any = None
    ) -> Tensor:
        """Run the twin, or a function of it, with these parameters."""
        given = {f"module.{name}": tensor for name, tensor in parameters.items()}
        given.update(program.buffers)
        result: Tensor = functional_call(
            program.twin, given, (part, x), tie_weights=False, strict=True
        )
        return result


class ElasticBlock(Elastic):
    """A unit that the root calls in turn: tokens in, tokens out.

    With `grad_checkpointing` it keeps its input for the backward, which computes the rest again.
    """

    grad_checkpointing: bool = False

    def forward(self, x: Tensor, program: Program) -> Tensor:
        """Return the unit's output at the kind of this program."""
        if self.grad_checkpointing and torch.is_grad_enabled():
            found: Tensor = checkpoint(self._forward, x, program, use_reentrant=False)
            return found
        return self._forward(x, program)

    def _forward(self, x: Tensor, program: Program) -> Tensor:
        return self.run(program, self.slices(program.steps), x)


@lru_cache(maxsize=65536)
def _program(
    storage: Storage, kind: Kind, training: bool, device: torch.device, side: Side | None
) -> Program:
    lent = twin(storage.family, storage.config, kind, training, device)
    return Program(storage.steps(kind, side), lent)


def parameter_name(key: str) -> str:
    """Return the static model's parameter that a key of a supernet's state belongs to."""
    owner, banks, bank = f".{key}".partition(".banks.")
    if not banks:
        return key
    name = bank.partition("@")[0].replace(":", ".")
    return f"{owner}.{name}".strip(".")
