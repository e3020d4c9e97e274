"""What is written of an architecture elsewhere: a mapping, or the text of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitnas.errors import InputError


def read_mapping(foreign: Any, original: str) -> Mapping[str, Any]:
    """Return a description that is a mapping, or text of YAML or JSON that holds one.

    Raises:
        InputError: it is neither.
    """
    if isinstance(foreign, str):
        from vitnas import yaml_text

        foreign = yaml_text.parse(foreign, f"{original} architecture")
    if not isinstance(foreign, Mapping):
        raise InputError(f"{original} architecture: it must be a mapping, got {foreign!r}")
    return {str(name): value for name, value in foreign.items()}
