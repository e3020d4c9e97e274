"""An ExecuTorch program (.pte) for phones and boards, for one image at a time, on XNNPACK."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vitnas.errors import InputError
from vitnas.export.agreement import check_agreement
from vitnas.export.shipment import Shipment
from vitnas.export.torch_export import program

FILE = "model.pte"


def check_installed() -> None:
    """Check that ExecuTorch is here.

    Raises:
        InputError: it is not.
    """
    if find_spec("executorch") is None:
        raise InputError("executorch is not installed; `pip install 'vitnas[executorch]'`")


def fill(shipped: Shipment, folder: Path) -> dict[str, Any]:
    """Write `model.pte`; return what the model card tells of it.

    Raises:
        InputError: the program gives other logits than the model in ExecuTorch's own runtime.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of executorch and torchao about themselves
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower
        from executorch.runtime import Runtime

        lowered = to_edge_transform_and_lower(
            program(shipped, any_batch=False), partitioner=[XnnpackPartitioner()]
        )
        saved: bytes = lowered.to_executorch().buffer
        forward = Runtime.get().load_program(saved).load_method("forward")
        difference = check_agreement(
            shipped, lambda images: forward.execute([images])[0], "ExecuTorch", batches=(1,)
        )
    (folder / FILE).write_bytes(saved)
    return {"file": FILE, "bytes": len(saved), "largest_difference": difference}
