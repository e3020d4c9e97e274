"""What a command acts on: a published name, a JSON file or text, or a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vitnas.arch import Arch
from vitnas.errors import InputError, unknown
from vitnas.zoo import arch, entries


def read_arch(text: str) -> tuple[Arch, str]:
    """Return the architecture of a published name, a JSON file or JSON text, and a name for it.

    Raises:
        InputError: it is none of them.
    """
    if text in entries():
        return arch(text), text
    if text.lstrip().startswith("{"):
        return Arch.from_json(text), "extracted"
    path = Path(text)
    if path.suffix != ".json":
        raise unknown("architecture", text, entries())
    from vitnas.files import read_json

    record = read_json(path)
    try:
        return Arch.from_dict(record), path.stem
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def read_target(text: str) -> tuple[Arch, dict[str, Any]]:
    """Return an architecture and its options: of a model folder, or as `read_arch`.

    Raises:
        InputError: it is neither; a supernet's folder is read as its largest architecture.
    """
    folder = Path(text)
    if not folder.is_dir():
        return read_arch(text)[0], {}
    from vitnas.run import model_record

    record = model_record(folder)
    found = Arch.from_dict(record.get("arch") or record.get("largest"))
    options = record.get("options")
    if not isinstance(options, dict):
        raise InputError(f"{folder / 'config.json'} is damaged: it has no options")
    return found, options
