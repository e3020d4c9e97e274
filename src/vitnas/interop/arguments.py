"""Types and ranges of the arguments that the originals' constructors take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from vitnas.errors import InputError
from vitnas.space import DEEPEST

LARGEST = 65_536
"""No published size comes near; beyond it a typing error would fill the memory."""

MOST_CLASSES = 16_777_216


class _Rule(NamedTuple):
    """Whether a value is fine, and what is allowed in words."""

    fine: Callable[[Any], bool]
    allowed: str


def is_size(value: Any) -> bool:
    """Return whether a value is a number that can be a width, or that a width can be scaled by."""
    return type(value) in (int, float) and 0 < value <= LARGEST


def _whole(least: int, most: int) -> _Rule:
    return _Rule(
        lambda value: type(value) is int and least <= value <= most,
        f"a whole number from {least} to {most:,}",
    )


_FLAG = _Rule(lambda value: type(value) is bool, "true or false")
_SIZES = ("img_size", "patch_size", "in_chans", "in_channels", "embed_dim", "num_heads")
_FLAGS = (
    *("gp", "change_qkv", "relative_position", "abs_pos", "qkv_bias", "pre_norm"),
    *("rpe", "global_pooling", "absolute_position", "use_final_norm"),
)
_RULES = {
    **dict.fromkeys((*_SIZES, "max_relative_position"), _whole(1, LARGEST)),
    **dict.fromkeys(("num_classes", "num_labels"), _whole(0, MOST_CLASSES)),
    **dict.fromkeys(_FLAGS, _FLAG),
    "depth": _whole(1, DEEPEST),
    "mlp_ratio": _Rule(is_size, f"a number above 0 and up to {LARGEST:,}"),
    "qk_scale": _Rule(
        lambda value: value is None or is_size(value), f"null, or above 0 and up to {LARGEST:,}"
    ),
}
"""By the name that an argument has in any of the systems; lists are another matter."""


def check_arguments(original: str, given: Mapping[str, Any]) -> None:
    """Check the arguments whose names are known.

    Raises:
        InputError: listing every wrong value.
    """
    faults = [
        f"{name} is {value!r}, it must be {_RULES[name].allowed}"
        for name, value in given.items()
        if name in _RULES and not _RULES[name].fine(value)
    ]
    if faults:
        raise InputError(f"{original} config: {'; '.join(faults)}")
