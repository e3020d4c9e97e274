"""Export a saved model: a folder with it in the format asked for, its config and its card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitnas import run as layout
from vitnas.errors import InputError, unknown
from vitnas.export.shipment import open_shipment, shareable, static_record
from vitnas.folders import check_free, new_folder

if TYPE_CHECKING:
    from vitnas.data.sources import Data
    from vitnas.export.shipment import Shipment

FORMATS = ("timm", "onnx", "torch-export", "executorch", "int8")
EXPORTS = "exports"
CARD, CONFIG = "README.md", "config.json"


@dataclass(frozen=True)
class Exported:
    """Where an export lies, and what its format tells of it, such as the file and its accuracy."""

    path: Path
    notes: Mapping[str, Any]


def export_model(
    model: str | Path,
    to: str,
    out: str | Path | None = None,
    *,
    data: str | None = None,
    root: str | None = None,
    skip_broken: bool = False,
    licence: str | None = None,
) -> Exported:
    """Write a static model for others, as a new folder that appears when it is whole.

    Args:
        model: a model folder.
        to: timm, onnx, torch-export, executorch or int8.
        out: the folder to write; by default `exports/FORMAT` inside the model folder.
        data: for int8 the data whose test split tells the accuracy, by default the model's own.
        root: where the data lies, for those that need it.
        skip_broken: leave out images of that split that can't be read, after a warning.
        licence: of the weights, for the model card.

    Raises:
        InputError: a wrong name or argument, no static model, a folder that is there already, a
            library that is not installed, or an export that gives other logits than the model.
    """
    if to not in FORMATS:
        raise unknown("export format", to, FORMATS)
    if to != "int8" and (data or root or skip_broken):
        raise InputError(
            f"data, root and skip_broken are for measuring int8; leave them out for {to}"
        )
    folder = Path(model)
    target = Path(out) if out is not None else folder / EXPORTS / to
    record = static_record(folder)
    check_free(target)
    _check_installed(to)
    measured = _data(record, data, root, skip_broken) if to == "int8" else None
    shipped = open_shipment(folder)
    if to != "timm":  # what runs the others has no use for other dtypes
        shipped = replace(shipped, model=shipped.model.float())
    with new_folder(target) as made:
        notes = _fill(shipped, to, made, measured)
        _describe(shipped, to, made, notes, licence)
    return Exported(target, notes)


def _check_installed(to: str) -> None:
    if to in ("onnx", "int8"):
        from vitnas.export.onnx_file import check_installed

        check_installed()
    if to == "executorch":
        from vitnas.export import executorch_file

        executorch_file.check_installed()


def _data(record: Mapping[str, Any], name: str | None, root: str | None, skip: bool) -> Data:
    from vitnas.data.sources import without_broken

    images = layout.open_model_data(record, name, root)
    layout.check_classes(record, images)
    return without_broken(images, "test") if skip else images


def _fill(shipped: Shipment, to: str, folder: Path, measured: Data | None) -> dict[str, Any]:
    if measured is not None:
        from vitnas.export import int8

        return int8.fill(shipped, folder, measured)
    from vitnas.export import executorch_file, onnx_file, timm_hub, torch_export

    fill = {
        "timm": timm_hub.fill,
        "onnx": onnx_file.fill,
        "torch-export": torch_export.fill,
        "executorch": executorch_file.fill,
    }[to]
    return fill(shipped, folder)


def _describe(
    shipped: Shipment, to: str, folder: Path, notes: dict[str, Any], licence: str | None
) -> None:
    """Write the card, and the config where the format has none."""
    from vitnas.export.card import card
    from vitnas.files import write, write_json

    told = shareable(notes)
    if to != "timm":
        kept = {name: value for name, value in shipped.record.items() if name != "build"}
        write_json(folder / CONFIG, {**kept, "kind": "export", "export": {"to": to, **told}})
    write(folder / CARD, card(shipped, to, told, licence))
