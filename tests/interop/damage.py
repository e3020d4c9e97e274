"""Weights with one fault each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor


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
