"""Tensors that some networks never had: refused as missing, unless a config says so."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

_GROUPS = {
    "abs_pos": ("positions", r"^pos_embed$"),
    "relative_position": ("tables of relative positions", r"\.rel_[kv]_(rows|cols)$"),
    "qkv_bias": ("biases of q, k and v", r"\.attn\.(qkv|q|k|v)\.bias$"),
    "final_norm": ("a final norm", r"^norm\."),
    "num_classes": ("a head", r"^head\."),
}
"""Options of ours that a network can do without, what it hasn't got then, and the names of that."""

_BLOCK = re.compile(r".*?\bblocks\.\d+\.")


@dataclass(frozen=True)
class Words:
    """How the config of an original says that a network never had something.

    `groups` are its arguments that decide on groups of tensors, and ours of the same meaning.
    `depth` is how it says the number of blocks, with `{}` where that stands: of each stage, in
    families with stages. `published` names the network, if it is a published one.
    """

    groups: Mapping[str, str]
    depth: str
    published: str = ""


def advice(own: Collection[str], missing: Collection[str], words: Words) -> str:
    """Return what a config must say of a network that never had what is missing.

    A checkpoint that lost a whole group of tensors, or its last blocks, has the names of a network
    without them, so that only a config can tell them apart. Empty where nothing is missing as a
    whole.

    Args:
        own: all names of the network, as this package has them.
        missing: those of them that the weights lack.
        words: how a config says it.
    """
    found = ""
    for theirs, ours in words.groups.items():
        what, pattern = _GROUPS[ours]
        group = {name for name in own if re.search(pattern, name)}
        if group and group <= set(missing):
            off = "0" if ours == "num_classes" else "false"
            found += f"; if it never had {what}, its config (--config) must say {theirs}: {off}"
    if left := _without_last(own, missing):
        count = ", ".join(map(str, left))
        found += f"; it begins as {words.published}" if words.published else ""
        found += f"; if it never had more blocks than {count}, its config (--config) must say "
        found += words.depth.format(left if len(left) > 1 else count)
    return found


def folded(missing: Collection[str], expected: Collection[str]) -> list[str]:
    """Return names that are missing, those of a block that is missing as a whole as one."""
    count, lost = (Counter(map(_block, names)) for names in (expected, missing))
    whole = {block for block, n in lost.items() if block and n == count[block] > 1}
    found = [name for name in missing if _block(name) not in whole]
    return [*found, *(f"{block}* ({count[block]} tensors)" for block in sorted(whole))]


def _block(name: str) -> str:
    """Return the beginning of a name that all tensors of its block have, empty if it has none."""
    match = _BLOCK.match(name)
    return match[0] if match else ""


def _without_last(own: Collection[str], missing: Collection[str]) -> list[int]:
    """Return how many blocks each stage has without the last ones, which are missing as a whole.

    Empty where none is missing, or all of a stage are.
    """
    blocks, there = (
        {_place(block) for block in map(_block, names) if block}
        for names in (own, set(own) - set(missing))
    )
    stages = sorted({stage for stage, _ in blocks})
    count, left = (
        [1 + max((layer for at, layer in found if at == stage), default=-1) for stage in stages]
        for found in (blocks, there)
    )
    return left if left != count and all(left) else []


def _place(block: str) -> tuple[tuple[int, ...], int]:
    """Return the stage of a block, if there are stages, and its number in it."""
    *stage, layer = map(int, re.findall(r"\d+", block))
    return tuple(stage), layer
