"""What is written of an architecture elsewhere: a mapping, or the text of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitnas.errors import InputError


def read_text(foreign: Any, original: str) -> Any:
    """Return what a text of YAML or JSON holds, and what is no text as it is.

    Raises:
        InputError: the text is neither.
    """
    if not isinstance(foreign, str):
        return foreign
    from vitnas import yaml_text

    return yaml_text.parse(foreign, f"{original} architecture")


def read_mapping(foreign: Any, original: str) -> Mapping[str, Any]:
    """Return a description that is a mapping, or text of YAML or JSON that holds one.

    Raises:
        InputError: it is neither.
    """
    foreign = read_text(foreign, original)
    if not isinstance(foreign, Mapping):
        raise InputError(f"{original} architecture: it must be a mapping, got {foreign!r}")
    return {str(name): value for name, value in foreign.items()}
