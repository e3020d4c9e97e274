"""Regional torch.compile: every block by itself, so that all subnets share the graphs of kinds."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import torch
from torch import nn

from vitnas.errors import InputError
from vitnas.supernet import Supernet


def compile_blocks(model: nn.Module, device: torch.device, backend: str = "inductor") -> None:
    """Compile the blocks of a supernet or of an ordinary model in place; weights stay as they are.

    Compilation itself happens when a kind of block first runs. `graph_room` has to be in force
    then.

    Raises:
        InputError: the model has no blocks, or a CPU's compiler is missing.
    """
    blocks = blocks_of(model)
    if not blocks:
        raise InputError(f"{type(model).__name__} has no blocks to compile; do without")
    if device.type == "cpu" and backend == "inductor":
        _check_compiler()
    for block in blocks:
        block.compile(backend=backend, dynamic=False, fullgraph=True)


def count_graphs(model: nn.Module) -> int:
    """Return how many graphs the blocks can need: their kinds, in training and in evaluation.

    Of a bilateral supernet each kind has a graph for each side.
    """
    if not isinstance(model, Supernet) or model.space is None:
        return 2 * len(blocks_of(model))
    archs = (model.largest, *model.space.tied())
    subnets = ((arch, side) for arch in archs for side in model.sides(arch))
    parts = (part for subnet in subnets for part in model.parts(*subnet)[1:])
    return 2 * len({(unit.kind, side) for unit, side in parts})


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """Return the members of all `blocks`, as timm calls them, in stages or not."""
    stacks = [m for name, m in model.named_modules() if name.rpartition(".")[2] == "blocks"]
    return [block for stack in stacks for block in stack.children()]


@contextlib.contextmanager
def graph_room(graphs: int) -> Iterator[None]:
    """Let torch keep this many graphs of one code: beyond 8, its default, it would not compile."""
    limits = {"recompile_limit": graphs, "accumulated_recompile_limit": graphs}
    kept = {name: max(n, getattr(torch._dynamo.config, name)) for name, n in limits.items()}
    with torch._dynamo.config.patch(kept), warnings.catch_warnings():
        # The compiler looks for gradients of the slices that a block is lent, in vain.
        warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a")
        yield


def _check_compiler() -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except (InvalidCxxCompiler, OSError) as error:
        raise InputError(
            "torch.compile needs a C++ compiler such as g++ on a CPU, and there is none; install "
            "one, or do without (compile=false in a recipe)"
        ) from error
