"""The names of tensors in ViTAS's official code."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vitnas.arch import Arch
from vitnas.interop.vitas_yaml import Official
from vitnas.models.vitas import FAMILY
from vitnas.models.vitas import slots as slots_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vitnas.supernet import Supernet

STEM = "net.backbone_init_stem_Patch_init_0"
HEAD = "net.backbone_FC_FC_0.0.module.0"
_ENDS = {"norm.": "net.backbone_Norm_Norm_0.0.", "head.": f"{HEAD}."}
_ANY = re.compile(r"backbone_(init_stem_Patch_init|Block_Block|Block_id|Norm_Norm|FC_FC)_\d")


def of_model(model: nn.Module, arch: Arch) -> Iterator[tuple[str, str]]:
    """Yield the official name of each parameter of a model, and ours."""
    places = slots_of(arch)
    for name in model.state_dict():
        layer, _, rest = name.removeprefix("blocks.").partition(".")
        if name.startswith("blocks."):
            yield block_name("Block", places[int(layer)], rest), name
        else:
            yield root_name(name, 0), name


def of_supernet(net: Supernet, given: Official, largest: Arch) -> Iterator[tuple[str, str]]:
    """Yield the official name of each parameter of a supernet, and ours.

    What is private to a patch size or a number of heads has that one's index in its name.
    """
    for index, patch in enumerate(given.patches):
        root = FAMILY.units(net.config, largest.replace(patch_size=patch))[0]
        for name, bank, _ in net.steps(root.kind):
            yield root_name(name, index), name if bank is None else f"banks.{bank}"
    op = "id" if given.identity else "Block"
    parts = {"attn.qkv.qk": "attn.qk", "attn.qkv.v": "attn.v"}
    private = {0: "", 1: "attn.v", 2: "attn.qk"}[given.qkv]
    for index, heads in enumerate(given.heads):
        units = FAMILY.units(net.config, largest.replace(num_heads=(heads,) * given.slots))[1:]
        for slot, unit in enumerate(units):
            elastic: Any = net.get_submodule(unit.path)
            for name, bank, _ in elastic.steps(unit.kind):
                part, last = name.rpartition(".")[::2]
                theirs = parts.get(part, part)
                theirs += str(index) if theirs == private else ""
                key = name if bank is None else f"banks.{bank}"
                yield block_name(op, slot, f"{theirs}.{last}"), f"{unit.path}.{key}"


def root_name(name: str, stem: int) -> str:
    """Return the official name of a parameter of stem or head."""
    for ours, theirs in _ENDS.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return f"{STEM}.{stem}.{name}"


def block_name(op: str, slot: int, name: str) -> str:
    """Return the official name of a parameter of a block; `op` is the last operation of its row."""
    return f"net.backbone_Block_{op}_{slot}.0.{name}"


def official(names: Collection[str]) -> bool:
    """Return whether one of the names is of the official form."""
    return any(_ANY.search(name) for name in names)


def plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state with the official names, whatever DDP and others put before most of them."""
    places = ((name, _ANY.search(name)) for name in state)
    before = Counter(name[: place.start()] for name, place in places if place)
    (prefix, _), *_ = before.most_common(1) or [("net.", 0)]
    found = {_renamed(name, prefix): tensor for name, tensor in state.items()}
    return found if len(found) == len(state) else dict(state)


def _renamed(name: str, prefix: str) -> str:
    inner = name.removeprefix(prefix)
    return f"net.{inner}" if name.startswith(prefix) and _ANY.match(inner) else name
