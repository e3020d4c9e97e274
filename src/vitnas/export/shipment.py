"""What is exported: a saved static model, and what may be told about it elsewhere."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from vitnas import run as layout
from vitnas.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vitnas.data.transforms import Input

_FIELDS = (
    *("vitnas", "kind", "family", "arch", "options", "build"),
    *("input", "data", "classes", "provenance", "metrics"),
)
"""What goes on from a record; whatever else stands there could mean something to others."""

_COUNTS = ("num_classes", "in_chans")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shipment:
    """A static model in evaluation mode, and its record as it may leave this machine.

    `name` is that of its folder; inside a run, where that is mostly the name of a search, the run's
    name comes first.
    """

    name: str
    model: nn.Module
    record: dict[str, Any]
    input: Input

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of each class, or its number where no names are known."""
        return class_names(self.record)

    def images(self, count: int) -> Tensor:
        """Return random images (count, C, H, W), the same each time, of the model's dtype."""
        import torch

        generator = torch.Generator().manual_seed(count)
        shape = count, self.input.channels, *self.input.img_size
        dtype = next(self.model.parameters()).dtype
        return torch.randn(shape, generator=generator).to(dtype)


def static_record(folder: Path) -> dict[str, Any]:
    """Return the record of a static model's folder.

    Raises:
        InputError: it holds a supernet, or no model, or a damaged one.
    """
    record = layout.model_record(folder)
    if record.get("kind") == "supernet":
        raise InputError(f"{folder} is a supernet; extract a subnet first: `vitnas extract`")
    options: Any = record.get("options")
    try:
        height, width = options["img_size"]
        fine = all(type(n) is int for n in (height, width, *map(options.get, _COUNTS)))
    except (AttributeError, KeyError, TypeError, ValueError):
        fine = False
    if not fine:
        raise InputError(f"{folder / 'config.json'} is damaged: it has no sensible options")
    return record


def open_shipment(folder: Path) -> Shipment:
    """Load a static model.

    Raises:
        InputError: there is none, or it is damaged.
    """
    from vitnas.folder import load

    record = static_record(folder)
    model = load(folder)
    input = layout.model_input(record)
    if "input" not in record:
        _log.warning("%s does not say how images are prepared; taken: %s", folder, input)
    known = {name: value for name, value in record.items() if name in _FIELDS}
    shared = {**shareable(known), "input": asdict(input)}
    class_names(shared)
    return Shipment(_name(folder.resolve()), model, shared, input)


def _name(folder: Path) -> str:
    run = folder.parent.parent
    inside = folder.parent.name == layout.MODELS and (run / layout.SUPERNET).is_dir()
    return f"{run.name}-{folder.name}" if inside and run.name else folder.name


def class_names(record: dict[str, Any]) -> tuple[str, ...]:
    """Return the name of each class, or its number where no names are known.

    Raises:
        InputError: there are more or fewer names than classes, or something else in their place.
    """
    count, names = record["options"]["num_classes"], record.get("classes")
    if names is None:
        return tuple(map(str, range(count)))
    if not isinstance(names, list) or len(names) != count:
        raise InputError(f"the field classes of the model's config.json does not name {count}")
    return tuple(map(str, names))


def shareable(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record without the paths of this machine: of each only the last part is left.

    Names of data that have paths inside keep their kind: folder//home/me/flowers becomes
    folder/…/flowers.
    """
    shared: dict[str, Any] = _without(record, sorted(_paths(record), key=len, reverse=True))
    return shared


def _paths(value: Any, key: str = "") -> Iterable[str]:
    """Yield the absolute and home paths that a record names as roots of data or as data."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield from _paths(one, name)
    elif isinstance(value, list):
        for one in value:
            yield from _paths(one, key)
    elif isinstance(value, str) and key in ("root", "name", "data", "skipped"):
        found = value if key in ("root", "skipped") else value.partition("/")[2]
        if found.startswith(("/", "~")):
            yield from {found, str(Path(found).expanduser())} - {"/", "~"}


def _without(value: Any, paths: list[str]) -> Any:
    if isinstance(value, dict):
        return {name: _without(one, paths) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without(one, paths) for one in value]
    if isinstance(value, str):
        for path in paths:
            value = re.sub(rf"{re.escape(path)}(?![\w.-])", f"…/{PurePath(path).name}", value)
    return value
