"""`vitnas export`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from vitnas.cli.log import say
from vitnas.cli.usage import MaybeFolder, MaybeName, MaybeRoot


def export(
    model: Path,
    *,
    to: Literal["timm", "onnx", "torch-export", "executorch", "int8"] = "timm",
    out: MaybeFolder = None,
    data: MaybeName = None,
    root: MaybeRoot = None,
    skip_broken: Literal["no", "yes"] = "no",
    licence: MaybeName = None,
) -> Path:
    """Write a saved model for others: a folder with the model, its config and a model card.

    It appears when it is whole and gives the model's logits (within 1e-4), else not at all.

    Args:
        model: a model folder.
        to: timm (a hub folder), onnx, torch-export (.pt2), executorch (.pte), or int8 (ONNX with
            8-bit weights, and what that does to the accuracy).
        out: the folder to write; by default exports/FORMAT inside the model folder.
        data: for int8 the data whose test split tells the accuracy; by default the model's own.
        root: where the data lies, for those that need it.
        skip_broken: yes leaves out images of that split that can't be read, and names them.
        licence: of the weights, as the hub names it (such as mit), for the model card.
    """
    from vitnas.export import export_model

    skip = skip_broken == "yes"
    made = export_model(model, to, out, data=data, root=root, skip_broken=skip, licence=licence)
    notes = made.notes
    if to == "int8":
        say(
            f"top-1 on the test split of {notes['data']}: {notes['int8']['top1']:.2f} in int8, "
            f"{notes['float32']['top1']:.2f} in float32 ({notes['top1_change']:+.2f}); "
            f"{notes['bytes']:,} bytes, {notes['float_bytes']:,} before"
        )
    elif "largest_difference" in notes:
        say(f"logits differ from the model's by at most {notes['largest_difference']:.1g}")
    say(f"{to} export written to {made.path}")
    return made.path
