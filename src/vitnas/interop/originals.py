"""The systems whose weights and architectures are read and written, by name.

Each is a module with the same names. `load`, `dump`, `arch` and `foreign` are for everybody; the
command line also asks for

- `recognises(names)` and `describes(foreign)`: whether tensors or a description look like its own
- `infer_config(state_dict)`: the constructor's arguments that weights imply
- `arguments(net, space)`: those of a net that `dump(net, space=..., lossy=...)` writes
- `lost(net, space)`: what `dump` can't keep; `WRAPPER`: the key that checkpoints have it under
- `description(arch, space)`: an architecture as the system's users keep it; of cream also with the
  arguments `given` of the supernet that its weights lie in
- `FAITHFUL`, if there: arguments of `load` without which weights would compute something else
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from importlib import import_module
from typing import Any

from vitnas.arch import Arch
from vitnas.data.transforms import Input
from vitnas.errors import InputError, unknown
from vitnas.space import Space

SOURCES = {
    "cream": "vitnas.interop.cream",
    "mmrazor": "vitnas.interop.mmrazor",
    "nni": "vitnas.interop.nni",
    "s3": "vitnas.interop.s3",
    "vitas": "vitnas.interop.vitas",
}
"""Name → module: official AutoFormer, MMRazor's and NNI's AutoFormer, official S3 and ViTAS."""

INACTIVE = ("mmrazor", "nni")
"""Systems whose descriptions have layers beyond an architecture's depth, if its space is known."""

EVALUATION: dict[str, dict[str, Any]] = {
    "mmrazor": {"crop_pct": 224 / 248},
    "vitas": {"interpolation": "bilinear"},
}
"""How the evaluation of a system differs from 256 → 224 pixels, bicubic, ImageNet's statistics."""


def evaluation_input(source: str, img_size: tuple[int, int], channels: int) -> Input | None:
    """Return how a system prepares images for evaluation; None for channels that it never has."""
    if channels != 3:
        return None
    return Input(img_size, **EVALUATION.get(source, {}))


def original(name: str, what: str = "checkpoint source") -> Any:
    """Return the module of a system.

    Raises:
        InputError: there is none of that name.
    """
    if name not in SOURCES:
        raise unknown(what, name, SOURCES)
    return import_module(SOURCES[name])


def recognise(names: Collection[str]) -> str:
    """Return whose weights these are, by the names of the tensors.

    Raises:
        InputError: they are nobody's, or several systems' at once.
    """
    found = [name for name in SOURCES if original(name).recognises(names)]
    if len(found) == 1:
        return found[0]
    some = f"{', '.join(sorted(names)[:3])}{', ...' if len(names) > 3 else ''}"
    if found:
        raise InputError(f"these could be weights of {_either(found)} ({some}); name the source")
    raise InputError(f"these are weights of no known system ({', '.join(SOURCES)}): {some}")


def read_arch(record: Any) -> Arch:
    """Return the architecture of a record of this package, or of a description of any system.

    Raises:
        InputError: it is neither, could be several systems', or has malformed fields.
    """
    if isinstance(record, dict) and "family" in record:
        return Arch.from_dict(record)
    found = [name for name in SOURCES if original(name).describes(record)]
    if len(found) > 1:
        raise InputError(f"this could be an architecture of {_either(found)}; write it as JSON")
    if not found:
        return Arch.from_dict(record)  # which says what is missing
    arch: Arch = original(found[0]).arch(record)
    return arch


def describe_arch(
    arch: Arch, to: str, space: Space | None = None, **around: Any
) -> tuple[str, str]:
    """Return an architecture as a system writes it: the suffix of a file, and its text.

    With a space also genes of layers that the architecture lacks, where the system has such. What
    MMRazor reads is JSON and YAML at once, as its loader goes by the suffix.

    Raises:
        InputError: there is no such system, or it has no such architecture.
    """
    record = original(to, "architecture format").description(arch, space, **around)
    if to == "nni":
        return "json", json.dumps(record) + "\n"
    if to == "mmrazor":
        lines = (f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in record.items())
        return "yaml", "{\n" + ",\n".join(lines) + "\n}\n"
    import yaml

    return "yaml", yaml.safe_dump(record, sort_keys=False, default_flow_style=None)


def _either(names: Iterable[str]) -> str:
    return " or ".join(names)
