"""Peak memory of activations at inference, traced kind by kind without computing anything.

Each kind of unit runs once on fake tensors, which have shapes and a device but no storage, while
every tensor that it makes is counted for as long as it lives. An architecture's peak follows from
those of its units and from what the modules around a unit hold meanwhile.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from vitnas.arch import Arch
from vitnas.cost.conditions import Settings, settings
from vitnas.cost.stopwatch import threads as with_threads
from vitnas.models import Config, Kind, family, family_of, make_config

Shape: TypeAlias = tuple[int, ...]


def memory(
    arch: Arch,
    num_classes: int = 1000,
    img_size: int | tuple[int, int] = 224,
    *,
    batch_size: int = 1,
    device: str | torch.device = "auto",
    threads: int | None = None,
    dtype: str = "float32",
    **options: Any,
) -> int:
    """Return the most bytes that tensors hold at once in a forward pass, weights not counted.

    The images are counted, and all tensors that the built model (`vitnas.build`) makes of them in
    evaluation mode, run by torch without a compiler. What an operation needs for itself while it
    runs is not: for AutoFormer and S3 in float32 on a CPU the figure equals the peak of torch's
    allocator, fused attention and a GPU's kernels need a few percent more.

    Args:
        arch: the architecture.
        num_classes: classes of the head.
        img_size: height and width, or one number for both.
        batch_size: images together.
        device: auto, cpu, cuda, mps: attention needs less on a CPU.
        threads: of a CPU, whose attention takes more images at a time with more of them; by
            default those that torch has.
        dtype: float32, bfloat16 or float16, of weights and images.
        options: the family's other options, as for `vitnas.build`.

    Raises:
        InputError: a wrong architecture, option or setting.
    """
    options |= {"num_classes": num_classes, "img_size": img_size}
    chosen = settings(device, threads=threads, dtype=dtype, batch_size=batch_size)
    return peak(arch, options, chosen)


def peak(arch: Arch, options: Mapping[str, Any], settings: Settings) -> int:
    """Return what `memory` does, under settings that are at hand."""
    model = family_of(arch)
    config = make_config(model, arch, {**options, "drop_path_rate": 0.0})
    root, *units = model.units(config, arch)
    how = settings.device, settings.threads, settings.dtype
    width: int = getattr(torch, settings.dtype).itemsize
    images = (settings.batch_size, config.in_chans, *config.img_size)
    given: int = width * math.prod(images)
    most, shape = traced(model.name, config, *how, root.kind, "stem", images)
    inputs: list[int] = []
    for unit, others in zip(units, _held(tuple(u.model_path for u in units)), strict=True):
        inputs.append(width * math.prod(shape))
        own, shape = traced(model.name, config, *how, unit.kind, "", shape)
        most = max(most, given + sum(inputs[index] for index in others) + own)
    own, _ = traced(model.name, config, *how, root.kind, "head", shape)
    return max(most, given + own)


@lru_cache(maxsize=1024)
def _held(paths: tuple[str, ...]) -> list[set[int]]:
    """Return for each unit those whose input is held while it runs, beside its own.

    A module holds its input until its children have run. So these are the inputs of the modules
    around the unit, each of which is that of the first unit inside.
    """
    first: dict[str, int] = {}
    found = []
    for index, path in enumerate(paths):
        names = path.split(".")
        around = [".".join(names[:depth]) for depth in range(1, len(names))]
        found.append({first.setdefault(name, index) for name in around} - {index})
    return found


@lru_cache(maxsize=65536)
def traced(
    name: str,
    config: Config,
    device: str,
    threads: int | None,
    dtype: str,
    kind: Kind,
    part: str,
    shape: Shape,
) -> tuple[int, Shape]:
    """Return the peak of a unit, its input counted, and the shape of its output."""
    model = family(name)
    with torch.device("meta"):
        module = model.build_unit(config, kind).eval()
    call = getattr(model, part) if part else nn.Module.__call__
    how: dict[str, Any] = {"dtype": getattr(torch, dtype), "device": device}
    with FakeTensorMode(), torch.inference_mode(), with_threads(threads):
        _replace(module, how)
        x = torch.empty(shape, **how)
        with Live([*module.parameters(), *module.buffers()]) as live:
            live.watch(x)
            out = call(module, x)
    return live.peak, tuple(out.shape)


def _replace(module: nn.Module, how: dict[str, Any]) -> None:
    """Put tensors of this kind in place of all that a module has."""
    for owner in module.modules():
        for name, parameter in owner._parameters.items():
            if parameter is not None:
                value = torch.empty(parameter.shape, **how)
                owner._parameters[name] = nn.Parameter(value, requires_grad=False)
        for name, buffer in owner._buffers.items():
            if buffer is not None:
                dtype = how["dtype"] if buffer.is_floating_point() else buffer.dtype
                owner._buffers[name] = torch.empty(buffer.shape, **{**how, "dtype": dtype})


class Live(TorchDispatchMode):
    """Counts the bytes of tensors that exist at the same time, except some that are given."""

    def __init__(self, ignored: list[Tensor]) -> None:
        TorchDispatchMode.__init__(self)
        self._seen = {tensor.untyped_storage()._cdata for tensor in ignored}
        self._now = self.peak = 0

    def watch(self, tensor: Tensor) -> None:
        """Count a tensor's storage until it is freed."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self._seen:
            self._seen.add(storage._cdata)
            self._now += storage.nbytes()
            self.peak = max(self.peak, self._now)
            weakref.finalize(storage, self._drop, storage._cdata, storage.nbytes())

    def _drop(self, key: int, size: int) -> None:
        self._seen.remove(key)
        self._now -= size

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and watch what it returns."""
        out = func(*args, **(kwargs or {}))
        for tensor in tree_iter(out):
            if isinstance(tensor, Tensor):
                self.watch(tensor)
        return out
