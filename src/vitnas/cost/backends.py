"""Nets to be timed: a whole net as one step, or its units as steps that are the same net.

Weights are random, as no time depends on them, and all nets use the same memory for them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from vitnas.arch import Arch
from vitnas.compiling import compile_blocks, graph_room
from vitnas.cost.conditions import Settings
from vitnas.cost.onnx_runtime import Part, session
from vitnas.cost.stopwatch import Step, threads
from vitnas.models import Kind, Unit, family_of, make_config

_ALIGNED = 64  # elements: allocators align weights as well, and kernels are faster for it
GRAPHS = 4096  # more than the kinds of units that are measured


class Nets:
    """Builds the nets of some architectures for a backend.

    Args:
        options: of the models, as `plain_options` returns them.
        settings: where and how the nets run.
    """

    def __init__(self, options: dict[str, Any], settings: Settings) -> None:
        self._options = options
        self._settings = settings
        self._how: dict[str, Any] = {
            "device": torch.device(settings.device),
            "dtype": getattr(torch, settings.dtype),
        }
        self._weights = torch.empty(0, **self._how)
        self._known: dict[Hashable, Step] = {}

    def units(self, arch: Arch) -> tuple[Unit, ...]:
        """Return the units of an architecture, the root first."""
        units: tuple[Unit, ...] = family_of(arch).units(self._config(arch), arch)
        return units

    def images(self, arch: Arch) -> Tensor:
        """Return a batch of random images."""
        config = self._config(arch)
        return self._random(self._settings.batch_size, config.in_chans, *config.img_size)

    def whole(self, arch: Arch) -> list[Step]:
        """Return a net as one step: images in, logits out."""
        model = self._model(arch)
        if self._settings.backend == "onnxruntime":
            return [self._session(arch, model, self.images(arch))]
        return [model]

    def split(self, arch: Arch) -> tuple[list[Kind], list[Step]]:
        """Return a net as steps, and the kind of unit that each belongs to.

        The root has the first step and the last.
        """
        root, *units = self.units(arch)
        kinds = [root.kind, *(unit.kind for unit in units), root.kind]
        model, made = family_of(arch), self._model(arch)
        blocks = [made.get_submodule(unit.model_path) for unit in units]
        steps: list[nn.Module] = [Part(made, model.stem), *blocks, Part(made, model.head)]
        if self._settings.backend == "onnxruntime":
            return kinds, self._sessions(kinds, steps, self.images(arch))
        return kinds, list(steps)

    def _config(self, arch: Arch) -> Any:
        return make_config(family_of(arch), arch, self._options)

    def _model(self, arch: Arch) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            made: nn.Module = family_of(arch).build(self._config(arch), arch)
        made.requires_grad_(False).eval().to(**self._how)
        self._share(made)
        if self._settings.backend == "compile":
            compile_blocks(made, self._how["device"])
        return made

    def _sessions(self, kinds: list[Kind], steps: list[nn.Module], x: Tensor) -> list[Step]:
        """Return the steps in ONNX Runtime, where those of a kind are one session."""
        found = []
        for index, (kind, step) in enumerate(zip(kinds, steps, strict=True)):
            found.append(self._session((kind, index == 0), step, x))
            x = step(x)
        return found

    def _session(self, key: Hashable, module: nn.Module, x: Tensor) -> Step:
        """Return a module in ONNX Runtime; what has the same key is exported once."""
        if key not in self._known:
            self._known[key] = session(module, x, self._settings.threads)
        return self._known[key]

    def _random(self, *shape: int) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(shape, generator=generator).to(**self._how)

    def _share(self, model: nn.Module) -> None:
        """Let all parameters of a model lie in the memory that all nets share."""
        parameters = list(model.parameters())
        places = [0]
        for parameter in parameters:
            places.append(places[-1] + -(-parameter.numel() // _ALIGNED) * _ALIGNED)
        if places[-1] > len(self._weights):
            self._weights = 0.1 * self._random(places[-1])
        for parameter, place in zip(parameters, places, strict=False):
            part = self._weights[place : place + parameter.numel()]
            parameter.data = part.view(parameter.shape)


@contextmanager
def running(settings: Settings) -> Iterator[None]:
    """Give torch the threads of some settings, and room for the graphs of a compiler."""
    graphs = graph_room(GRAPHS) if settings.backend == "compile" else nullcontext()
    with threads(settings.threads), graphs:
        yield
