"""ViTAS's official descriptions (xiusu/ViTAS): rows of a YAML, and encodings of a network.

A row of `backbone` is [how often, input width, heads or patches, attention width, output width,
MLP width, MLP output width, flag, operations]. The attention width is that of q, k and v together,
three times the gene `attn_dim`. An encoding (`net_id`) is a list of numbers: the index of the
patch, one number a slot (the index of the heads, or one more where the slot is left out), two that
mean nothing; then indices of ratios: of the width, and of attention and MLP of every slot.

The rows at the top, `model`, are a supernet in the released YAMLs, also in those to retrain and to
test a network: that is in `retrain.model` and `test.model`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vitnas.arch import Arch
from vitnas.errors import InputError, unknown
from vitnas.space import DEEPEST

_STAGES = ("init_stem", "Block", "Norm", "FC")
_TENTHS = tuple(tenth / 10 for tenth in range(1, 11))
_HEADS = (3, 6, 12, 16)
_NO_CHOICE = ("init_stem", "Norm", "FC")
_PARTS = ("retrain", "test")


@dataclass(frozen=True)
class Official:
    """What an official YAML says of a model: the largest sizes, what is chosen, an encoding."""

    patches: tuple[int, ...]
    heads: tuple[int, ...]
    embed: int
    attn: int  # of q, k and v together
    mlp: int
    slots: int
    identity: bool = True
    classes: int = 1000
    qkv: int = 2
    ratios: tuple[float, ...] = _TENTHS
    code: tuple[int, ...] | None = None

    @property
    def searched(self) -> bool:
        """Whether this is one network: it has an encoding, or nothing to choose."""
        choices = len(self.heads) > 1 or len(self.patches) > 1 or self.identity
        return self.code is not None or not choices

    def mapping(self) -> dict[str, Any]:
        """Return the official YAML's part `model`."""
        ops = ["Block", "id"] if self.identity else ["Block"]
        embed, patches, heads = self.embed, list(self.patches), list(self.heads)
        backbone = {
            "init_stem": [1, 3, patches, [], embed, [], [], True, ["Patch_init"]],
            "Block": [self.slots, embed, heads, self.attn, embed, self.mlp, embed, True, ops],
            "Norm": [1, embed, [], [], [], [], [], "token", ["Norm"]],
            "FC": [1, embed, [], [], self.classes, [], [], False, ["FC"]],
        }
        found = {"backbone": backbone, "depth": self.slots}
        if self.code is not None:
            code = " ".join(map(str, self.code))
            extra = {"channel_percent": list(self.ratios), "model_len": self.slots + 3}
            return {**found, "net_id": code, **extra}
        return found if self.searched else {**found, "heads_share": True, "qkv": self.qkv}


SPACES = (
    Official((14, 16, 32), _HEADS, 384, 1440, 1440, 16),
    Official((14, 16, 32), _HEADS, 768, 2880, 2880, 13, identity=False),
)
"""The official supernets of A, B and E, and of F: what encodings without a YAML are of."""


def read(config: Any) -> Official:
    """Read an official YAML, or its part `model`; keys that don't describe the model are ignored.

    Raises:
        InputError: it isn't one; the message says what is wrong.
    """
    given = config.get("model", config) if isinstance(config, Mapping) else config
    if not isinstance(given, Mapping) or not isinstance(given.get("backbone"), Mapping):
        raise _fault("it needs the rows of the network, `backbone`")
    backbone = given["backbone"]
    for name in backbone:
        if name not in _STAGES:
            raise unknown("stage of the official ViTAS", str(name), _STAGES)
    missing = [name for name in _STAGES if name not in backbone]
    if missing:
        raise _fault(f"{', '.join(missing)} missing")
    stem, block, _, head = (_row(name, backbone[name]) for name in _STAGES)
    widths = {stem[4], block[4], block[6]}
    if len(widths) > 1:
        raise _fault(f"widths of stem, attention and MLP differ: {stem[4]}, {block[4]}, {block[6]}")
    found = Official(
        patches=_whole("patches", stem[2]),
        heads=_whole("heads", block[2]),
        embed=_whole("width", stem[4])[0],
        attn=_whole("attention width", block[3])[0],
        mlp=_whole("MLP width", block[5])[0],
        slots=_whole("number of blocks", block[0])[0],
        identity="id" in block[8],
        classes=_whole("number of classes", head[4])[0],
        qkv=given.get("qkv", 0),
    )
    if found.slots > DEEPEST:
        raise _fault(f"there are {found.slots} blocks; it has at most {DEEPEST}")
    if found.attn % 3:
        raise _fault(f"the attention width is {found.attn}; it must be a multiple of 3")
    if found.qkv not in (0, 1, 2):
        raise _fault(f"qkv is {found.qkv!r}; it is 0, 1 or 2")
    found = replace(found, ratios=_ratios(given.get("channel_percent", _TENTHS)))
    if given.get("net_id") is not None:
        return replace(found, code=read_code(given["net_id"]))
    if not found.searched and len(found.heads) == 1:
        raise _fault("one number of heads with other choices is neither a network nor a supernet")
    return found


def networks(config: Any) -> dict[str, Official]:
    """Return the networks that an official YAML has to retrain and to test, by their place in it.

    Parts without a network, or with another supernet, are left out.

    Raises:
        InputError: one is malformed; the message names it.
    """
    found = {}
    for part in _PARTS:
        inner = _part(config, part).get("model")
        if not isinstance(inner, Mapping) or "backbone" not in inner:
            continue
        try:
            given = read(inner)
        except InputError as error:
            raise InputError(f"{part}.model: {error}") from error
        if given.searched:
            found[f"{part}.model"] = given
    return found


def runs_networks(config: Any) -> bool:
    """Return whether an official YAML has retraining or a test switched on.

    Those for a search have neither, and networks that stand for nothing.
    """
    parts = [_part(config, part) for part in _PARTS]
    return any(part.get("flag", True) for part in parts if "model" in part)


def read_code(code: Any) -> tuple[int, ...]:
    """Read an encoding: text of numbers, or a list.

    Raises:
        InputError: it is neither.
    """
    if isinstance(code, str) and re.fullmatch(r"[\d\s|,]+", code):
        return tuple(map(int, re.findall(r"\d+", code)))
    whole = isinstance(code, Sequence) and not isinstance(code, str)
    if not whole or not all(type(number) is int for number in code):
        raise InputError(f"official ViTAS net_id: it must be a list of whole numbers, got {code!r}")
    return tuple(code)


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


def decode_ratios(
    space: Official, structure: Sequence[int], ratios: Sequence[float], faithful: bool
) -> Arch:
    """Return the architecture of structure genes and width ratios, as a supernet is given them.

    Widths are rounded, ties to even. Each slot has two ratios of its own. With `faithful` the next
    block takes the next two instead, as in the released supernet, which skips none for a slot that
    is left out; its FLOPs and the networks built anew count by slot.

    Raises:
        InputError: there are too many or too few, or an index means nothing.
    """
    slots = space.slots
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


def _part(config: Any, name: str) -> Mapping[str, Any]:
    found = config.get(name) if isinstance(config, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _row(name: str, row: Any) -> list[Any]:
    if not isinstance(row, list | tuple) or len(row) != 9 or not isinstance(row[8], list | tuple):
        raise _fault(f"{name} is {row!r}; it needs 9 fields, the last a list of operations")
    if name in _NO_CHOICE and row[0] != 1:
        raise _fault(f"{name} is there {row[0]!r} times; it must be once")
    return list(row)


def _whole(what: str, value: Any) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not values or not all(type(one) is int and one > 0 for one in values):
        raise _fault(f"{what} {value!r} must be positive whole numbers")
    return values


def _ratios(value: Any) -> tuple[float, ...]:
    numbers = isinstance(value, list | tuple) and all(
        isinstance(one, int | float) and not isinstance(one, bool) and 0 < one <= 1 for one in value
    )
    if not numbers or not value:
        raise _fault(f"channel_percent is {value!r}; it is a list of ratios above 0 and up to 1")
    return tuple(float(one) for one in value)


def _fault(what: str) -> InputError:
    return InputError(f"official ViTAS YAML: {what}")
