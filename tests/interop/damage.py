"""Weights with one fault each."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor

OPTIONAL = ("relative_position_index", "attn_mask")
"""Of S3; they follow from the windows."""


def damaged(whole: Mapping[str, Tensor], how: str) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield the name of every tensor, and a copy of the state in which it alone has a fault.

    It is removed, renamed or transposed, or another stands beside it ("extra"). What transposing
    leaves as it was is passed over.
    """
    for key, tensor in whole.items():
        part = dict(whole)
        if how == "extra":
            part[f"{key}.more"] = tensor
        elif how == "transposed":
            part[key] = tensor.transpose(0, -1).contiguous()
            if part[key].shape == tensor.shape:
                continue
        else:
            del part[key]
            part |= {f"{key}_x": tensor} if how == "renamed" else {}
        yield key, part


def groups(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the names that differ in numbers only, together, and all that are in one module."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        same = re.sub(r"\d+", "*", name)
        if not same.endswith(OPTIONAL):
            found[same].append(name)
        if "*" not in same:
            found[name.partition(".")[0]].append(name)
    return found
