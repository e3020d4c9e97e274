"""The constructor's arguments that official S3 weights imply."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.interop.published import networks, whole
from vitnas.interop.shapes import num_classes, vote
from vitnas.models.swin import FAMILY, TABLE
from vitnas.models.vit import mlp_ratio
from vitnas.space import DEEPEST

if TYPE_CHECKING:
    from torch import Tensor

_ORIGINAL = "official S3"
_HEAD_DIM = 32
"""The official class has so many channels a head, and runs only where they make the embed_dim."""

_EMBED = {"norm1.weight": 0, "norm1.bias": 0, "norm2.weight": 0, "norm2.bias": 0}
_EMBED |= {"attn.proj.bias": 0, "mlp.fc2.bias": 0}
_HIDDEN = {"mlp.fc1.weight": 0, "mlp.fc1.bias": 0, "mlp.fc2.weight": 1}
_ROWS = ("num_heads", "window_size", "mlp_ratio")
_GENES = ("embed_dim", *_ROWS)
_SIDE = 224 // 4
"""How many patches the images of the published networks have along a side."""

_BLOCK = re.compile(r"layers\.(\d+)\.blocks\.(\d+)\.")


def infer_config(
    state_dict: Mapping[str, Tensor], said: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """Return the constructor's arguments that official weights imply.

    The image size is read from the masks of shifted blocks; images are taken to be square. Windows
    are those that take effect, which can be smaller than the configured ones. Biases and head are
    taken to be there, as weights may have lost them, and so are the last blocks of stages that else
    are as in a published network. What is said comes first; blocks that only it has are taken to
    be as the last of their stage.

    Raises:
        InputError: these are not official S3 weights, or neither is the image size said nor is any
            block of theirs shifted.
    """
    patch = state_dict.get("patch_embed.proj.weight")
    if patch is None or patch.dim() != 4:
        raise InputError("not official S3 weights: patch_embed.proj.weight missing, or no kernel")
    depths = _depths(state_dict)
    if not depths:
        raise InputError("not official S3 weights: layers.0.blocks.0 missing")
    blocks = [[f"layers.{i}.blocks.{j}." for j in range(n)] for i, n in enumerate(depths)]
    widths = [_vote(state_dict, row, _EMBED) for row in blocks]
    hidden = [[_vote(state_dict, [block], _HIDDEN) for block in row] for row in blocks]
    windows = [
        [_window(state_dict, block, width // _HEAD_DIM) for block in row]
        for row, width in zip(blocks, widths, strict=True)
    ]
    found: dict[str, Any] = {
        "patch_size": patch.shape[-1],
        "in_chans": patch.shape[1],
        "num_classes": num_classes(state_dict, ("head.weight", "head.bias"), _ORIGINAL),
        "qkv_bias": True,
        "embed_dim": widths,
        "depths": depths,
        "window_size": windows,
        "num_heads": [[w // _HEAD_DIM] * n for w, n in zip(widths, depths, strict=True)],
        "mlp_ratio": [
            [mlp_ratio(width, n) for n in row] for width, row in zip(widths, hidden, strict=True)
        ],
    }
    if "img_size" not in said:
        found["img_size"] = _grid(state_dict, windows) * patch.shape[-1]
    if (said_depths := _said_depths(said)) is None:
        side = {**found, **said}["img_size"] // patch.shape[-1]
        return {**found, **_whole(found, side), **said}
    if len(said_depths) == len(depths):
        rows = {name: _of_length(found[name], said_depths) for name in _ROWS}
        found |= {**rows, "depths": said_depths}
    return {**found, **said}


def published(side: int) -> dict[str, Arch]:
    """Return the published networks by name, with the windows that take effect in their shapes.

    `side` is how many patches an image has along a side.
    """
    found = networks(FAMILY.name).items()
    return {name: _effective(arch, side) for name, arch in found}


def _whole(found: Mapping[str, Any], side: int) -> dict[str, Any]:
    """Return depths and lists with the blocks that a published network of these sizes has beyond.

    Its windows are those at `side`, else those of the images that it was published with, as `side`
    is what a config says.
    """
    arch = Arch(FAMILY.name, depth=found["depths"], **{name: found[name] for name in _GENES})
    entire = whole(arch, published(side))
    if entire == arch:
        entire = whole(arch, published(_SIDE))
    genes = entire.to_dict()["genes"]
    return {"depths": genes["depth"], **{name: genes[name] for name in _GENES}}


def _effective(arch: Arch, side: int) -> Arch:
    """Return an architecture with the windows that take effect: none is larger than its stage."""
    rows = enumerate(arch.window_size)
    return arch.replace(window_size=[[min(n, side >> stage) for n in row] for stage, row in rows])


def _said_depths(said: Mapping[str, Any]) -> list[int] | None:
    """Return the depths that a config says, or its lists of a value for each block have.

    None where it says nothing, or what is refused later.
    """
    if "depths" in said:
        depths = said["depths"]
    else:
        rows = next((said[name] for name in _ROWS if name in said), ())
        depths = [len(row) for row in rows if isinstance(row, list | tuple)]
    sound = isinstance(depths, list | tuple) and all(n in range(1, DEEPEST + 1) for n in depths)
    return [int(n) for n in depths] if sound and depths else None


def _of_length(rows: list[list[Any]], depths: list[int]) -> list[list[Any]]:
    """Return rows of these lengths; what a row lacks is as its last value."""
    pairs = zip(rows, depths, strict=True)
    return [row[:depth] + row[-1:] * (depth - len(row)) for row, depth in pairs]


def _depths(names: Iterable[str]) -> list[int]:
    """Return the number of blocks of each stage, as far as stages follow one another."""
    found: dict[int, set[int]] = {}
    for name in names:
        if match := _BLOCK.match(name):
            found.setdefault(int(match[1]), set()).add(int(match[2]))
    return [len(found[stage]) for stage in range(len(found)) if stage in found]


def _vote(state: Mapping[str, Tensor], blocks: list[str], places: Mapping[str, int]) -> int:
    named = {block + name: dim for block in blocks for name, dim in places.items()}
    return vote(state, named, _ORIGINAL)


def _window(state: Mapping[str, Tensor], block: str, heads: int) -> int:
    """Return the window that most of the tensors of a block's attention have."""
    told = [
        math.isqrt(tensor.shape[-1])
        for name in ("attn.relative_position_index", "attn_mask")
        if (tensor := state.get(block + name)) is not None and tensor.dim() > 1
        if tensor.shape[-1] == tensor.shape[-2]
    ]
    table = state.get(block + TABLE)
    if table is not None and table.dim() == 2:
        rows = table.shape[0] if table.shape[1] == heads else table.shape[1]
        told.append((math.isqrt(rows) + 1) // 2)
    if not told:
        raise InputError(f"not official S3 weights: {block}{TABLE} missing")
    return Counter(told).most_common(1)[0][0]


def _grid(state: Mapping[str, Tensor], windows: list[list[int]]) -> int:
    """Return how many patches an image has along a side, as most masks say."""
    told = []
    for stage, row in enumerate(windows):
        for layer, window in enumerate(row):
            mask = state.get(f"layers.{stage}.blocks.{layer}.attn_mask")
            if mask is not None and mask.shape[1:] == (window**2, window**2):
                told.append(math.isqrt(mask.shape[0]) * window << stage)
    if not told:
        raise InputError(
            "the weights have no attn_mask to read the image size from; give a config with img_size"
        )
    return Counter(told).most_common(1)[0][0]
