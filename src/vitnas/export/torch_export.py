"""A `torch.export` program (.pt2) with a free batch size."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from vitnas.export.agreement import check_agreement
from vitnas.export.shipment import Shipment

FILE = "model.pt2"


def program(shipped: Shipment, *, any_batch: bool) -> ExportedProgram:
    """Return the model as a graph of ATen operators, for one image or any number of them.

    Where in which file of this machine the operators came from is left out.
    """
    images = shipped.images(2 if any_batch else 1)
    shapes = ({0: Dim("batch", min=1)},) if any_batch else None
    with torch.no_grad():
        made = torch.export.export(shipped.model, (images,), dynamic_shapes=shapes)
    for node in made.graph.nodes:
        node.meta.pop("stack_trace", None)
    return made


def fill(shipped: Shipment, folder: Path) -> dict[str, Any]:
    """Write `model.pt2`; return what the model card tells of it.

    The file is read back for the check.

    Raises:
        InputError: the program gives other logits than the model.
    """
    buffer = io.BytesIO()
    torch.export.save(program(shipped, any_batch=True), buffer)
    saved = buffer.getvalue()
    read = torch.export.load(io.BytesIO(saved)).module()
    difference = check_agreement(shipped, read, "the exported program")
    (folder / FILE).write_bytes(saved)
    return {"file": FILE, "bytes": len(saved), "largest_difference": difference}
