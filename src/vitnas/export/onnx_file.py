"""An ONNX file with a free batch size, checked in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vitnas.cost.conditions import missing_onnx
from vitnas.errors import InputError
from vitnas.export.agreement import check_agreement
from vitnas.export.shipment import Shipment

FILE = "model.onnx"
LARGEST = 2**31 - 2**24  # bytes of weights: an ONNX file ends at 2 GB


def check_installed() -> None:
    """Check that what writes and runs ONNX files is here.

    Raises:
        InputError: it is not.
    """
    missing = missing_onnx()
    if missing:
        raise InputError(
            f"{', '.join(missing)} not installed; `pip install 'vitnas[onnx]'` brings what it takes"
        )


def onnx_bytes(shipped: Shipment) -> tuple[bytes, float]:
    """Return a checked ONNX model, and the largest difference of a logit.

    Raises:
        InputError: ONNX Runtime's logits differ from the model's by more than 1e-4, or the model
            is too large for a file.
    """
    from vitnas.cost.onnx_runtime import export, start

    size = sum(tensor.nbytes for tensor in shipped.model.state_dict().values())
    if size > LARGEST:
        raise InputError(f"the model has {size / 1e9:.1f} GB of weights; ONNX files end at 2 GB")
    model = export(shipped.model, shipped.images(2), any_batch=True)
    return model, check_agreement(shipped, start(model), "ONNX Runtime")


def fill(shipped: Shipment, folder: Path) -> dict[str, Any]:
    """Write `model.onnx`; return what the model card tells of it.

    Raises:
        InputError: ONNX Runtime gives other logits than the model.
    """
    model, difference = onnx_bytes(shipped)
    (folder / FILE).write_bytes(model)
    return {"file": FILE, "bytes": len(model), "largest_difference": difference}
