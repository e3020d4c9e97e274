"""What a command acts on: a published name, a JSON file or text, or a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vitnas.arch import Arch
from vitnas.errors import InputError, unknown
from vitnas.zoo import arch, entries


def read_arch(text: str) -> Arch:
    """Return the architecture of a published name, a JSON file or JSON text.

    Raises:
        InputError: it is none of them.
    """
    if text in entries():
        return arch(text)
    if text.lstrip().startswith("{"):
        return Arch.from_json(text)
    path = Path(text)
    if path.suffix == ".json":
        try:
            return Arch.from_json(path.read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"can't read architecture {path}: {error}") from error
    raise unknown("architecture", text, entries())


def read_target(text: str) -> tuple[Arch, dict[str, Any]]:
    """Return an architecture and its options: of a model folder, or as `read_arch`.

    Raises:
        InputError: it is neither; a supernet's folder is read as its largest architecture.
    """
    folder = Path(text)
    if not folder.is_dir():
        return read_arch(text), {}
    from vitnas.folder import read_config

    record = read_config(folder)
    return Arch.from_dict(record.get("arch") or record.get("largest")), dict(record["options"])
