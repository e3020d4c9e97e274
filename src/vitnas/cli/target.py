"""What a command acts on: a published name, a file or text, or a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vitnas.arch import Arch
from vitnas.errors import InputError, unknown
from vitnas.files import parse_json, read_json, read_yaml
from vitnas.interop.originals import read_arch as read_any
from vitnas.space import Space
from vitnas.zoo import arch, entries

RECORDS = (".json", ".yaml", ".yml")


def read_arch(text: str) -> tuple[Arch, str]:
    """Return the architecture of a published name, a file or JSON text, and a name for it.

    File and text hold an architecture of this package as JSON, or a description of another system
    (see `vitnas.interop.originals`) as JSON or YAML.

    Raises:
        InputError: it is none of them.
    """
    if text in entries():
        return arch(text), text
    if _is_text(text):
        return read_any(_parse(text)), "extracted"
    path = Path(text)
    if path.suffix not in RECORDS:
        raise unknown("architecture", text, entries())
    record = read_record(path)
    try:
        return read_any(record), path.stem
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def read_record(path: Path) -> Any:
    """Return what a JSON or YAML file holds.

    Raises:
        InputError: it can't be read, or is neither.
    """
    return read_yaml(path) if path.suffix in (".yaml", ".yml") else read_json(path)


def read_arguments(path: Path | None) -> dict[str, Any] | None:
    """Return the arguments of an original's constructor that a file holds; None without a file.

    Raises:
        InputError: it can't be read, or maps no names to values.
    """
    if path is None:
        return None
    found = read_record(path)
    if not isinstance(found, dict) or not found:
        raise InputError(
            f"{path} must map the original's arguments to values; to read them off the weights, "
            "leave --config out"
        )
    return found


def read_target(text: str) -> tuple[Arch, dict[str, Any]]:
    """Return an architecture and its options: of a model folder, or as `read_arch`.

    Raises:
        InputError: it is neither; a supernet's folder is read as its largest architecture.
    """
    record = _folder_record(text)
    if record is None:
        return read_arch(text)[0], {}
    found = Arch.from_dict(record.get("arch") or record.get("largest"))
    options = record.get("options")
    if not isinstance(options, dict):
        raise InputError(f"{Path(text) / 'config.json'} is damaged: it has no options")
    return found, options


def read_space(text: str) -> Space | None:
    """Return the search space that a model folder tells; None of what is no folder, or tells none.

    Raises:
        InputError: what it tells is no space.
    """
    from vitnas.interop.default_space import recorded_space

    record = _folder_record(text)
    return None if record is None else recorded_space(record)


def _folder_record(text: str) -> dict[str, Any] | None:
    """Return the record of a model folder, None of what is no folder."""
    folder = Path(text)
    if _is_text(text) or not folder.is_dir():
        return None
    from vitnas.run import model_record

    return model_record(folder)


def _is_text(text: str) -> bool:
    """Return whether this is JSON, not a name or path; it can be too long for a path."""
    return text.lstrip().startswith(("{", "["))


def _parse(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise InputError(f"not an architecture: {error}") from error
