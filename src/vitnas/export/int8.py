"""Dynamic int8 quantisation of the ONNX model, with what it does to the accuracy.

Weights of matrix products are 8-bit integers, one scale an output channel; activations are scaled
as they come. The rest stays in float32.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vitnas.evaluate import Scores, evaluate
from vitnas.export.onnx_file import FILE, onnx_bytes
from vitnas.export.shipment import Shipment

if TYPE_CHECKING:
    from vitnas.cost.stopwatch import Step
    from vitnas.data.sources import Data


class OnnxModel(nn.Module):
    """An ONNX model on a CPU, as a module that takes images and gives logits."""

    def __init__(self, model: bytes | str) -> None:
        from vitnas.cost.onnx_runtime import start

        super().__init__()
        self._run: Step = start(model)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, classes) of images (B, C, H, W)."""
        return torch.from_numpy(self._run(images.contiguous()))


def fill(shipped: Shipment, folder: Path, data: Data) -> dict[str, Any]:
    """Write the quantised `model.onnx`; return its accuracy and the model's on the test split.

    Raises:
        InputError: the ONNX model before quantisation gives other logits than the model, or an
            image is broken.
    """
    from vitnas.data.cache import eval_cache

    float_model, _ = onnx_bytes(shipped)
    quantised = _quantised(float_model, folder)
    (folder / FILE).write_bytes(quantised)
    images = eval_cache(data.test, shipped.input)
    before, after = (evaluate(one, images) for one in (shipped.model, OnnxModel(quantised)))
    return {
        "file": FILE,
        "bytes": len(quantised),
        "float_bytes": len(float_model),
        "data": data.name,
        "split": "test",
        "float32": _figures(before),
        "int8": _figures(after),
        "top1_change": after.top1 - before.top1,
    }


def _quantised(model: bytes, folder: Path) -> bytes:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    given, made = onnx.load_model_from_string(model), folder / f".{FILE}"
    del given.graph.value_info[:]  # shapes of weights that it is going to transpose
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it advises to preprocess, on the root logger
    try:
        quantize_dynamic(
            given,
            made,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
        return made.read_bytes()
    finally:
        logger.setLevel(level)
        made.unlink(missing_ok=True)


def _figures(scores: Scores) -> dict[str, float]:
    return {name: getattr(scores, name) for name in ("top1", "top5", "loss", "images")}
