"""Tensors that some networks never had: refused as missing, unless a config says so."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

_GROUPS = {
    "abs_pos": ("positions", r"^pos_embed$"),
    "relative_position": ("tables of relative positions", r"\.rel_[kv]_(rows|cols)$"),
    "qkv_bias": ("biases of q, k and v", r"\.attn\.(qkv|q|k|v)\.bias$"),
    "final_norm": ("a final norm", r"^norm\."),
    "num_classes": ("a head", r"^head\."),
}
"""Options of ours that a network can do without, what it hasn't got then, and the names of that."""


def advice(own: Collection[str], missing: Collection[str], options: Mapping[str, str]) -> str:
    """Return what a config must say of a network that never had what is missing.

    A checkpoint that lost a whole group of tensors has the names of a network without it, so that
    only a config can tell them apart. Empty where no group is missing as a whole.

    Args:
        own: all names of the network, as this package has them.
        missing: those of them that the weights lack.
        options: the arguments of the original that decide on a group, and ours of the same meaning.
    """
    found = ""
    for theirs, ours in options.items():
        what, pattern = _GROUPS[ours]
        group = {name for name in own if re.search(pattern, name)}
        if group and group <= set(missing):
            off = "0" if ours == "num_classes" else "false"
            found += f"; if it never had {what}, its config (--config) must say {theirs}: {off}"
    return found
