"""Nets in ONNX Runtime: exported by torch, run from memory on a CPU."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vitnas.cost.stopwatch import Step


class Part(nn.Module):
    """A function of a module, such as the stem of a net, as a module."""

    def __init__(self, module: nn.Module, function: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.module = module
        self._function = function

    def forward(self, x: Tensor) -> Tensor:
        """Return the function's result."""
        return self._function(self.module, x)


def session(module: nn.Module, example: Tensor, threads: int | None) -> Step:
    """Return what runs a module in ONNX Runtime for inputs of the example's shape.

    It takes a tensor or an array and returns an array.
    """
    return start(export(module, example), threads)


def export(module: nn.Module, example: Tensor, *, any_batch: bool = False) -> bytes:
    """Return an ONNX model of a module, from `images` to `logits`, by torch's dynamo exporter.

    It takes inputs of the example's shape, with `any_batch` any number of them, and holds its
    weights, of which ONNX allows 2 GB. Where in which file the operators came from is left out.
    """
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter about itself
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            verbose=False,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: "batch"},) if any_batch else None,
        )
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]
    serialised: bytes = model.SerializeToString()
    return serialised


def start(model: bytes | str, threads: int | None = None) -> Step:
    """Return what runs an ONNX model, given as bytes or as a file, on a CPU.

    It takes a tensor or an array and returns an array.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    made = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (given,) = made.get_inputs()

    def run(x: Any) -> Any:
        return made.run(None, {given.name: x.numpy() if isinstance(x, Tensor) else x})[0]

    return run
