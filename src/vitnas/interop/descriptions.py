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
        import yaml

        try:
            foreign = yaml.safe_load(foreign)
        except (yaml.YAMLError, RecursionError) as error:
            why = " ".join(str(error).split())
            raise InputError(f"{original} architecture: not valid YAML: {why}") from error
    if not isinstance(foreign, Mapping):
        raise InputError(f"{original} architecture: it must be a mapping, got {foreign!r}")
    return {str(name): value for name, value in foreign.items()}
