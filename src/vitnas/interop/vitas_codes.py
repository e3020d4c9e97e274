"""ViTAS's official encodings: a network as a choice of a supernet, read and written.

An encoding (`net_id`) is a list of numbers: the index of the patch, one number a slot (the index of
the heads, or one more where the slot is left out), two that mean nothing; then indices of ratios:
of the width, and of attention and MLP of every slot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.interop.vitas_yaml import SPACES, Official, read_ratios


def of_code(code: tuple[int, ...]) -> Official:
    """Return the official supernet that an encoding is of, judging by its length.

    Raises:
        InputError: it is as long as no official one.
    """
    for space in SPACES:
        if len(code) == 3 * space.slots + 4:
            return space
    lengths = " or ".join(str(3 * space.slots + 4) for space in SPACES)
    raise InputError(
        f"official ViTAS net_id: it has {len(code)} numbers, those of the official spaces have "
        f"{lengths}; give the YAML that it belongs to"
    )


def decode(space: Official, code: tuple[int, ...], faithful: bool) -> Arch:
    """Return the architecture of an encoding; see `decode_ratios` for `faithful`.

    Raises:
        InputError: it has another length, or an index that means nothing.
    """
    slots = space.slots
    if len(code) != 3 * slots + 4:
        raise InputError(
            f"official ViTAS net_id: it has {len(code)} numbers, {slots} slots need {3 * slots + 4}"
        )
    structure, indices = code[: slots + 3], code[slots + 3 :]
    ratios = [_pick("ratio", space.ratios, index) for index in indices]
    return decode_ratios(space, structure, ratios, faithful)


def decode_ratios(space: Official, structure: Sequence[int], ratios: Any, faithful: bool) -> Arch:
    """Return the architecture of structure genes and width ratios, as a supernet is given them.

    Widths are rounded, ties to even. Each slot has two ratios of its own. With `faithful` the next
    block takes the next two instead, as in the released supernet, which skips none for a slot that
    is left out; its FLOPs and the networks built anew count by slot.

    Raises:
        InputError: there are too many or too few, a ratio is none, or an index means nothing.
    """
    slots, ratios = space.slots, read_ratios("subnet_c_percent", ratios)
    if len(structure) != slots + 3 or len(ratios) != 2 * slots + 1:
        raise InputError(
            f"official ViTAS encoding: {slots} slots need {slots + 3} structure genes and "
            f"{2 * slots + 1} ratios, got {len(structure)} and {len(ratios)}"
        )
    heads = (*space.heads, None) if space.identity else space.heads
    blocks: list[tuple[int, int, int, int]] = []
    for slot, gene in enumerate(structure[1 : slots + 1]):
        chosen = _pick("block", heads, gene)
        if chosen is not None:
            pair = 1 + 2 * (len(blocks) if faithful else slot)
            attn, mlp = ratios[pair : pair + 2]
            blocks.append((slot, chosen, round(attn * (space.attn // 3)), round(mlp * space.mlp)))
    return _arch(
        blocks, round(ratios[0] * space.embed), _pick("patch", space.patches, structure[0])
    )


def literal(space: Official) -> Arch:
    """Return the architecture of rows without choices: all blocks are equal.

    Raises:
        InputError: there are choices.
    """
    if not space.searched:
        raise InputError(
            "official ViTAS YAML: it describes a supernet; a subnet needs net_id, or subnet_m and "
            "subnet_c_percent"
        )
    block = space.heads[0], space.attn // 3, space.mlp
    return _arch([(i, *block) for i in range(space.slots)], space.embed, space.patches[0])


def network(given: Official, faithful: bool = False) -> Arch:
    """Return the architecture of a network, of its encoding or of its rows.

    Raises:
        InputError: it is a supernet, or the encoding doesn't fit its rows.
    """
    return literal(given) if given.code is None else decode(given, given.code, faithful)


def encode(space: Official, arch: Arch) -> Official:
    """Return the official description of an architecture as a choice of a space.

    Slots that are left out have ratio 0 of the list.

    Raises:
        InputError: the space has no such architecture; every gene that doesn't fit is named.
    """
    faults: list[str] = []

    def index(name: str, value: Any, allowed: Sequence[Any]) -> int:
        if value not in allowed:
            faults.append(f"{name} {value} (it has {', '.join(map(str, allowed))})")
            return 0
        return allowed.index(value)

    def ratio(name: str, value: int, largest: int) -> int:
        return index(name, value, [round(one * largest) for one in space.ratios])

    genes: dict[str, Any] = dict(arch)
    taken = dict(zip(genes.get("slot", range(arch.depth)), range(arch.depth), strict=True))
    if max(taken, default=0) >= space.slots or (len(taken) < space.slots and not space.identity):
        faults.append(f"blocks in slots {', '.join(map(str, taken))} (it has {space.slots})")
    structure, widths = [], []
    for slot in range(space.slots):
        layer = taken.get(slot)
        if layer is None:
            structure.append(len(space.heads))
            widths += [0, 0]
        else:
            structure.append(index("num_heads", arch.num_heads[layer], space.heads))
            widths.append(ratio("attn_dim", arch.attn_dim[layer], space.attn // 3))
            widths.append(ratio("mlp_dim", arch.mlp_dim[layer], space.mlp))
    patch = index("patch_size", arch.patch_size, space.patches)
    embed = ratio("embed_dim", arch.embed_dim, space.embed)
    if faults:
        raise InputError(f"the official space has no {'; no '.join(dict.fromkeys(faults))}")
    return replace(space, code=(patch, *structure, 0, 0, embed, *widths))


def describe(arch: Arch) -> Official:
    """Return an official description of any architecture.

    Rows alone where all blocks are equal; else a choice of the official spaces, or of a space that
    has just the widths of the architecture.
    """
    genes: dict[str, Any] = dict(arch)
    blocks = set(zip(arch.num_heads, arch.attn_dim, arch.mlp_dim, strict=True))
    if len(blocks) == 1 and "slot" not in genes:
        ((heads, attn, mlp),) = blocks
        sizes = (arch.patch_size,), (heads,), arch.embed_dim, 3 * attn, mlp, arch.depth
        return Official(*sizes, identity=False, qkv=0)
    for space in SPACES:
        try:
            return encode(space, arch)
        except InputError:
            continue
    slots = max(genes.get("slot", (arch.depth - 1,))) + 1
    attn, mlp = max(arch.attn_dim), max(arch.mlp_dim)
    ratios = {1.0, *(one / attn for one in arch.attn_dim), *(one / mlp for one in arch.mlp_dim)}
    heads = tuple(sorted(set(arch.num_heads)))
    sizes = (arch.patch_size,), heads, arch.embed_dim, 3 * attn, mlp, slots
    own = Official(*sizes, identity=slots > arch.depth, ratios=tuple(sorted(ratios)))
    return encode(own, arch)


def _arch(blocks: Sequence[tuple[int, int, int, int]], embed: int, patch: int) -> Arch:
    if not blocks:
        raise InputError("official ViTAS encoding: it leaves out all blocks, which is no network")
    slots, heads, attn, mlp = zip(*blocks, strict=True)
    placed = {} if slots == tuple(range(len(blocks))) else {"slot": slots}
    widths = {"num_heads": heads, "attn_dim": attn, "mlp_dim": mlp, "embed_dim": embed}
    return Arch("vitas", depth=len(blocks), **placed, **widths, patch_size=patch)


def _pick(name: str, allowed: Sequence[Any], index: Any) -> Any:
    if type(index) is not int or not 0 <= index < len(allowed):
        raise InputError(
            f"official ViTAS encoding: {name} index {index!r} is none of 0 to {len(allowed) - 1}"
        )
    return allowed[index]
