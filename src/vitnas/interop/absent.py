"""What a network that is read lacks only because its weights lack the names."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

_TENSORS = {
    "abs_pos": "pos_embed",
    "relative_position": "rel_pos tables",
    "qkv_bias": "biases of q, k and v",
    "final_norm": "final norm",
    "num_classes": "head",
}
"""Options of ours that are off where weights lack the names, and what has these names."""

_log = logging.getLogger(__name__)


def complete(
    inferred: Mapping[str, Any], given: Mapping[str, Any], options: Mapping[str, str]
) -> dict[str, Any]:
    """Return what is given, completed by what the weights imply; see `tell_absent`."""
    tell_absent(inferred, given, options)
    return {**inferred, **given}


def tell_absent(
    inferred: Mapping[str, Any], given: Mapping[str, Any], options: Mapping[str, str]
) -> None:
    """Warn of what is off for no other reason than that the weights lack the names.

    A network that never had them looks just like a checkpoint that lost them.

    Args:
        inferred: the constructor's arguments that the weights imply.
        given: those that somebody said, which need no warning.
        options: the arguments that names show, and what this package calls each.
    """
    off = [name for name in options if name not in given and not inferred.get(name, True)]
    if off:
        lacks = ", no ".join(_TENSORS[options[name]] for name in off)
        read = ", ".join(f"{name} {json.dumps(inferred[name])}" for name in off)
        _log.warning(
            "no %s: read as a network with %s; if that is wrong, the checkpoint is not whole; "
            "else a config that says so ends this warning",
            lacks,
            read,
        )
