"""The names of tensors in ViTAS's official code, and what names and shapes tell of a network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.interop.vitas_yaml import SPACES, Official, describe
from vitnas.models.vitas import FAMILY
from vitnas.models.vitas import slots as slots_of
from vitnas.zoo import entries

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vitnas.supernet import Supernet

STEM = "net.backbone_init_stem_Patch_init_0"
_ENDS = {"norm.": "net.backbone_Norm_Norm_0.0.", "head.": "net.backbone_FC_FC_0.0.module.0."}


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


def plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state with the official names, whatever DDP and others put before each."""
    before = {name.partition("backbone_")[0] for name in state}
    if len(before) == 1:
        return {f"net.{name.removeprefix(*before)}": tensor for name, tensor in state.items()}
    return dict(state)


def img_size(state: Mapping[str, Tensor]) -> int:
    """Return the side of the images, which the position table of the first stem tells."""
    table = _of_stem(state, "pos_embed", 3, "position table")
    weight = _of_stem(state, "patch_embed.proj.weight", 4, "patches")
    side = math.isqrt(max(table.shape[1] - 1, 0))
    if side**2 != table.shape[1] - 1 or not side:
        raise InputError(f"{table.shape[1]} positions are no square of patches and a class token")
    if weight.shape[-1] != weight.shape[-2]:
        shape = tuple(weight.shape)
        raise InputError(f"patches are not square: {STEM}.0.patch_embed.proj.weight is {shape}")
    return side * int(weight.shape[-1])


def _of_stem(state: Mapping[str, Tensor], name: str, ndim: int, what: str) -> Tensor:
    tensor = state.get(f"{STEM}.0.{name}")
    if tensor is None or tensor.ndim != ndim:
        raise InputError(
            f"not official ViTAS weights: they have no {what} of the first stem ({STEM}.0.{name})"
        )
    return tensor


def infer(state: Mapping[str, Tensor]) -> Official:
    """Return the description of a published network, or of an official supernet, of these shapes.

    Raises:
        InputError: these are not official ViTAS weights, or no known ones.
    """
    try:
        embed = int(state[f"{STEM}.0.cls_token"].shape[-1])
        classes = int(state["net.backbone_FC_FC_0.0.module.0.weight"].shape[0])
        slots = sorted({_slot(name) for name in state if name.startswith("net.backbone_Block_")})
        patches = tuple(int(state[name].shape[-1]) for name in _convolutions(state))
        blocks = {slot: _sizes(state, slot) for slot in slots}
    except KeyError as error:
        raise InputError(f"not official ViTAS weights: {error.args[0]} missing") from error
    private = any(mode for mode, *_ in blocks.values())
    known = _supernets if len(patches) > 1 or private else _networks
    for found in known(embed, patches, blocks):
        identity = found.identity and (
            found.searched or any(name.startswith("net.backbone_Block_id_") for name in state)
        )
        return replace(found, classes=classes, identity=identity)
    raise InputError(
        "ViTAS weights don't show the numbers of heads, and these are of no published network; "
        "give the official YAML as config"
    )


_Blocks: TypeAlias = Mapping[int, tuple[int, int, int]]
"""Slot → mode of q, k and v, attention width (of each), MLP width."""


def _supernets(embed: int, patches: tuple[int, ...], blocks: _Blocks) -> Iterator[Official]:
    """Yield the official supernets of these widths, with as many slots as there are blocks."""
    modes = {mode for mode, *_ in blocks.values()}
    for space in SPACES:
        widths = {(mode, space.attn // 3, space.mlp) for mode in modes}
        if len(modes) == 1 and (embed, set(blocks.values())) == (space.embed, widths):
            yield replace(space, patches=patches, slots=len(blocks), qkv=modes.pop())


def _networks(embed: int, patches: tuple[int, ...], blocks: _Blocks) -> Iterator[Official]:
    """Yield the published networks of these sizes."""
    for arch in (entry.arch for entry in entries().values()):
        if arch.family == FAMILY.name and (arch.embed_dim, arch.patch_size) == (embed, *patches):
            sizes = zip(arch.attn_dim, arch.mlp_dim, strict=True)
            wanted = {slot: (0, *one) for slot, one in zip(slots_of(arch), sizes, strict=True)}
            if blocks == wanted:
                yield describe(arch)


def _slot(name: str) -> int:
    return int(name.split(".")[1].rpartition("_")[2])


def _convolutions(state: Mapping[str, Tensor]) -> list[str]:
    names = [f"{STEM}.{index}.patch_embed.proj.weight" for index in range(len(state))]
    return [name for name in names if name in state]


def _sizes(state: Mapping[str, Tensor], slot: int) -> tuple[int, int, int]:
    op = "id" if block_name("id", slot, "attn.proj.weight") in state else "Block"
    names = {"attn.qk0.weight": 2, "attn.v0.weight": 1, "attn.qkv.weight": 0}
    modes = [mode for name, mode in names.items() if block_name(op, slot, name) in state]
    if not modes:
        raise KeyError(block_name(op, slot, "attn.qkv.weight"))
    width = state[block_name(op, slot, "attn.proj.weight")].shape[1]
    return modes[0], int(width), int(state[block_name(op, slot, "mlp.fc1.weight")].shape[0])
