"""ViTAS's official YAML (xiusu/ViTAS): rows that describe a supernet or a network.

A row of `backbone` is [how often, input width, heads or patches, attention width, output width,
MLP width, MLP output width, flag, operations]. The attention width is that of q, k and v together,
three times the gene `attn_dim`. The official code ignores the input width and the flag.

The rows at the top, `model`, are a supernet in the released YAMLs, also in those to retrain and to
test a network: that is in `retrain.model` and `test.model`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vitnas.errors import InputError, unknown
from vitnas.interop.arguments import LARGEST, MOST_CLASSES
from vitnas.space import DEEPEST

_OPS = {
    "init_stem": (["Patch_init"],),
    "Block": (["Block", "id"], ["Block"]),
    "Norm": (["Norm"],),
    "FC": (["FC"],),
}
"""Stage → its possible operations."""

_STAGES = tuple(_OPS)
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

SUPERNETS = {
    "vitas-a": SPACES[0],
    "vitas-c": Official((16,), _HEADS, 384, 1440, 1440, 12, identity=False),
    "vitas-f": SPACES[1],
}
"""The official supernets, each by a published network of it."""


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
    widths = {"stem": stem[4], "attention": block[4], "MLP": block[6]}
    sizes = [_size(f"the width of the {place}", width) for place, width in widths.items()]
    if len(set(sizes)) > 1:
        raise _fault(f"widths of {', '.join(widths)} differ: {', '.join(map(str, sizes))}")
    found = Official(
        patches=_sizes("patches", stem[2]),
        heads=_sizes("heads", block[2]),
        embed=sizes[0],
        attn=_size("the attention width", block[3]),
        mlp=_size("the MLP width", block[5]),
        slots=_size("the number of blocks", block[0], DEEPEST),
        identity="id" in block[8],
        classes=_size("the number of classes", head[4], MOST_CLASSES),
        qkv=given.get("qkv", 0),
        ratios=read_ratios("channel_percent", given.get("channel_percent", _TENTHS)),
        code=None if given.get("net_id") is None else read_code(given["net_id"]),
    )
    if found.attn % 3:
        raise _fault(f"the attention width is {found.attn}; it must be a multiple of 3")
    if type(found.qkv) is not int or found.qkv not in (0, 1, 2):
        raise _fault(f"qkv is {found.qkv!r}; it is 0, 1 or 2")
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
    if isinstance(code, str) and re.fullmatch(r"(?!.*\d{10})[\d\s|,]+", code, re.DOTALL):
        return tuple(map(int, re.findall(r"\d+", code)))
    whole = isinstance(code, Sequence) and not isinstance(code, str)
    if not whole or not all(type(number) is int for number in code):
        raise InputError(f"official ViTAS net_id: it must be a list of whole numbers, got {code!r}")
    return tuple(code)


def read_ratios(what: str, value: Any) -> tuple[float, ...]:
    """Read ratios of widths.

    Raises:
        InputError: they are no list of numbers above 0 and up to 1.
    """
    numbers = isinstance(value, list | tuple) and all(
        isinstance(one, int | float) and not isinstance(one, bool) and 0 < one <= 1 for one in value
    )
    if not numbers or not value:
        raise _fault(f"{what} is {value!r}; it is a list of ratios above 0 and up to 1")
    return tuple(float(one) for one in value)


def _part(config: Any, name: str) -> Mapping[str, Any]:
    found = config.get(name) if isinstance(config, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _row(name: str, row: Any) -> list[Any]:
    if not isinstance(row, list | tuple) or len(row) != 9 or not isinstance(row[8], list | tuple):
        raise _fault(f"{name} is {row!r}; it needs 9 fields, the last a list of operations")
    if name in _NO_CHOICE and (type(row[0]) is not int or row[0] != 1):
        raise _fault(f"{name} is there {row[0]!r} times; it must be once")
    if list(row[8]) not in _OPS[name]:
        allowed = " or ".join(map(str, _OPS[name]))
        raise _fault(f"the operations of {name} are {row[8]!r}; they must be {allowed}")
    return list(row)


def _sizes(what: str, value: Any) -> tuple[int, ...]:
    """Return what there is to choose from: one size, or each of a list."""
    values = value if isinstance(value, list | tuple) else [value]
    if not values:
        raise _fault(f"{what} are {value!r}; there must be one or more")
    found = tuple(_size(f"one of the {what}", one) for one in values)
    if len(set(found)) < len(found):
        raise _fault(f"{what} are {value!r}; none may be there twice")
    return found


def _size(what: str, value: Any, most: int = LARGEST) -> int:
    if type(value) is not int or not 1 <= value <= most:
        raise _fault(f"{what} is {value!r}; it must be a whole number from 1 to {most:,}")
    return value


def _fault(what: str) -> InputError:
    return InputError(f"official ViTAS YAML: {what}")
