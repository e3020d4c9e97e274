"""AutoFormer's official code (microsoft/Cream): weights and architectures, in and out.

Its qkv weight interleaves q, k and v row by row (row 3c+i belongs to channel c of q, k or v) while
its qkv bias is one flat vector of which a subnet takes the first 3n entries and cuts them into q,
k and v. Weights are reordered on the way in; the bias keeps its order through the sharing policy
`legacy`, so that every subnet has the official logits.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from vitnas import zoo
from vitnas.arch import Arch
from vitnas.errors import InputError, unknown
from vitnas.interop import autoformer as common
from vitnas.interop import holding
from vitnas.interop.absent import Words
from vitnas.interop.arguments import check_arguments
from vitnas.interop.descriptions import read_mapping
from vitnas.interop.published import named, whole
from vitnas.models.autoformer import FAMILY
from vitnas.models.vit import mlp_ratio
from vitnas.space import Space
from vitnas.spaces import space as preset

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vitnas.supernet import Supernet

_FLAGS = ("gp", "change_qkv", "relative_position")
"""Arguments of the training that the constructor gets under the same names."""

_WORDS = Words(
    {
        "abs_pos": "abs_pos",
        "relative_position": "relative_position",
        "qkv_bias": "qkv_bias",
        "pre_norm": "final_norm",
        "num_classes": "num_classes",
    },
    depth="depth: {}",
)

_REQUIRED = ("embed_dim", "depth", "num_heads")
_SAME = (
    *("img_size", "patch_size", "in_chans", "num_classes", "qkv_bias", "abs_pos"),
    *("relative_position", "max_relative_position"),
)
_PER_LAYER = ("embed_dim", "num_heads", "mlp_ratio")
_INERT = ("drop_rate", "attn_drop_rate", "drop_path_rate", "norm_layer", "rpe_type")
_OFF = ("scale", "qk_scale", "hybrid_backbone")
_THEIRS = {
    "patch_embed.": "patch_embed_super.",
    ".norm1.": ".attn_layer_norm.",
    ".norm2.": ".ffn_layer_norm.",
    ".mlp.": ".",
    **common.TABLES,
}
_ORIGINAL = "official AutoFormer"
WRAPPER = "model"
"""Where a checkpoint holds the state."""

HEAD_DIM = common.HEAD_DIM


def load(
    state_dict: Mapping[str, Tensor],
    config: Mapping[str, Any],
    space: Space | None = None,
    args: Mapping[str, Any] | None = None,
) -> Supernet:
    """Make a supernet of official AutoFormer weights; every subnet has the official logits.

    Args:
        state_dict: the official `model` state.
        config: the official constructor's arguments, in its names (embed_dim, depth, num_heads,
            mlp_ratio, gp, relative_position, change_qkv, abs_pos, ...), or the official YAML with
            its part SUPERNET. What it lacks is as `infer_config` has it.
        space: the architectures to serve; by default all that fit inside the largest.
        args: the arguments of the training that a checkpoint carries; the config comes first.

    Raises:
        InputError: an unknown or unsupported argument, or weights that don't fit it.
    """
    from vitnas.supernet import Supernet

    given = _complete(state_dict, _read_config(config), args or {})
    sizes = {"largest": _largest(given), **_options(given)}
    make = partial(Supernet, space, sharing="legacy", **sizes)
    words = replace(_WORDS, published=named(sizes["largest"], _published()))
    net = common.fitting(state_dict, make, _theirs, "AutoFormer", words)
    ours = {name: state_dict[_theirs(name)] for name in net.state_dict()}
    if given["change_qkv"]:
        for i in range(given["depth"]):
            name = f"blocks.{i}.attn.qkv.weight"
            ours[name] = _deinterleave(ours[name])
    net.load_state_dict(ours)
    return net


def infer_config(
    state_dict: Mapping[str, Tensor], args: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the constructor's arguments that official weights imply.

    What shapes can't show, mean pooling (gp) and change_qkv, is taken from the arguments of the
    training that a checkpoint carries, else as in every published command: both on. Images are
    taken to be square. Everything that a network can do without is taken to be there, as weights
    may have lost it: only these arguments or a config can say otherwise. So are the last blocks of
    weights of the size of a published supernet; others are as deep as their names show.

    Raises:
        InputError: these are not official AutoFormer weights, or they have no position table, from
            which the image size is read.
    """
    return _complete(state_dict, {}, args or {})


def _complete(
    state: Mapping[str, Tensor], config: Mapping[str, Any], args: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the config says, else the arguments of the training, else the weights."""
    return _checked({**_infer(state), **_said(args), **config})


def _infer(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return all that weights show, and what the published commands have where they can't."""

    def size(name: str, dim: int, dims: int) -> int:
        found = common.size(state, name, dim, dims, _ORIGINAL)
        if found is None:
            raise InputError(f"not {_ORIGINAL} weights: {name} missing")
        return found

    embed = common.embed_dim(state, _theirs, _ORIGINAL)
    hidden = common.hidden_dim(state, _theirs, _ORIGINAL, 0)
    patch, channels = (size("patch_embed_super.proj.weight", dim, 4) for dim in (3, 1))
    table = common.table_rows(state, _theirs, _ORIGINAL)
    found = {
        "patch_size": patch,
        "in_chans": channels,
        "embed_dim": embed,
        "depth": common.count_blocks(state),
        "num_heads": embed // HEAD_DIM,
        "mlp_ratio": mlp_ratio(embed, hidden),
        "num_classes": common.num_classes(state, _theirs, _ORIGINAL),
        "qkv_bias": True,
        "gp": True,
        "relative_position": True,
        "change_qkv": True,
        "abs_pos": True,
        "max_relative_position": 14 if table is None else table // 2 - 1,
        "pre_norm": True,
    }
    found["depth"] = whole(_largest(found), _published()).depth
    if "pos_embed" in state:
        found["img_size"] = math.isqrt(max(0, size("pos_embed", 1, 3) - 1)) * patch
    return found


def _published() -> dict[str, Arch]:
    """Return the official supernets of the published networks, by their largest subnets."""
    entries = (entry for entry in zoo.entries().values() if entry.arch.family == FAMILY.name)
    sizes = {entry.name: _room(preset(entry.space).largest, None) for entry in entries}
    return {f"the supernet of {name}": _largest(one) for name, one in sizes.items()}


def _said(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the arguments of a training say of the network, as the official code reads it."""
    said: dict[str, Any] = {name: bool(args[name]) for name in _FLAGS if name in args}
    if "no_abs_pos" in args:
        said["abs_pos"] = not args["no_abs_pos"]
    return {**said, "img_size": args["input_size"]} if "input_size" in args else said


def dump(net: nn.Module, *, space: Space | None = None, lossy: bool = False) -> dict[str, Tensor]:
    """Return the weights in the official format, copied.

    The official code has supernets only: a subnet of its own trains and runs inside one. A static
    model is therefore written into the smallest official supernet that has room for it, or into
    that of a space; the rest is zero, and with the model's architecture it has the same logits.

    Args:
        net: an AutoFormer supernet or static model.
        space: of a static model, the supernet to write it into; of a supernet, what to keep of it.
        lossy: go on where subnets change: those with fewer heads, of supernets with nested biases.

    Raises:
        InputError: the official code has no such net, or something would be lost.
    """
    largest, config = holding.describe(net, _ORIGINAL)
    given = arguments(net, space)
    options = _options(given)
    holding.check_holds(_ORIGINAL, config, options, largest)
    holding.check_sharing(_ORIGINAL, net)
    holding.refuse_loss(_ORIGINAL, lost(net, space), lossy)
    part = holding.stored(net, space, whole=True)
    found = {}
    whole = holding.inside(holding.part_of(net, part), part, _largest(given), options)
    for name, tensor in whole.items():
        interleaved = given["change_qkv"] and name.endswith("attn.qkv.weight")
        found[_theirs(name)] = _interleave(tensor) if interleaved else tensor
    return found


def lost(net: nn.Module, space: Space | None = None) -> list[str]:
    """Return what the official format can't keep of a net that it can hold."""
    return holding.lost(net, space, legacy=True)


def arguments(net: nn.Module, space: Space | None = None) -> dict[str, Any]:
    """Return the official constructor's arguments of the supernet that `dump` writes.

    Raises:
        InputError: the net is no AutoFormer of this package, or no official supernet has room.
    """
    largest, config = holding.describe(net, _ORIGINAL)
    part, width = holding.stored(net, space, whole=True), config.fixed_attn_dim
    if width is not None and part.embed_dim > width:
        raise InputError(
            f"the {_ORIGINAL} can't hold this net: embed_dim is {part.embed_dim}, above the fixed "
            f"q-k-v width {width}"
        )
    return {
        **{name: getattr(config, name) for name in _SAME},
        "img_size": config.img_size[0],
        "gp": config.pool == "avg",
        "change_qkv": width is None,
        "pre_norm": not config.post_norm,
        **supernet(largest if space is None else space.largest, width),
    }


def arch(foreign: Mapping[str, Any] | str) -> Arch:
    """Read the official description of a subnet.

    Either the training code's dict (layer_num, embed_dim as a list, num_heads, mlp_ratio) or the
    RETRAIN part of a subnet YAML (DEPTH, EMBED_DIM, NUM_HEADS, MLP_RATIO), as a mapping or as text.
    What lists hold beyond the depth is left out, as it has no effect in the original.

    Raises:
        InputError: a field is missing or malformed, or embed_dim differs between layers (the
            original fails at its residual connections then).
    """
    record = read_mapping(foreign, _ORIGINAL)
    if "RETRAIN" in record:
        record = read_mapping(record["RETRAIN"], _ORIGINAL)
    record = {name.lower(): value for name, value in record.items()}
    if "depth" in record:
        record["layer_num"] = record["depth"]
    missing = [name for name in ("layer_num", *_PER_LAYER) if name not in record]
    if missing:
        raise InputError(f"{_ORIGINAL} subnet: {', '.join(missing)} missing")
    depth = common.read_depth(_ORIGINAL, record["layer_num"])
    genes = {name: common.cut(record[name], depth) for name in _PER_LAYER}
    width = genes["embed_dim"]
    if isinstance(width, list):
        if len(width) != depth or any(one != width[0] for one in width):
            raise InputError(
                f"{_ORIGINAL} subnet: embed_dim is {width}; it must be the same in all "
                f"{depth} layers"
            )
        genes["embed_dim"] = width[0]
    return common.own_arch(depth, **genes)


def foreign(arch: Arch) -> dict[str, Any]:
    """Return the training code's description of a subnet.

    Raises:
        InputError: the architecture is no AutoFormer, or has a gene that the original lacks.
    """
    common.check_family(arch, _ORIGINAL)
    return {
        "layer_num": arch.depth,
        "embed_dim": [arch.embed_dim] * arch.depth,
        "num_heads": list(arch.num_heads),
        "mlp_ratio": list(arch.mlp_ratio),
    }


def description(
    arch: Arch, space: Space | None = None, given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the official YAML of a subnet: RETRAIN, and the SUPERNET that its weights lie in.

    That is the supernet with the arguments `given`, else the smallest with room for the space, else
    for the architecture, as `dump` writes them.

    Raises:
        InputError: the architecture is no AutoFormer, has a gene that the original lacks, or is not
            in the space.
    """
    record = foreign(arch)
    if space is not None:
        space.validate(arch)
    whole = given or supernet(arch if space is None else space.largest)
    part = {name.upper(): record[name] for name in ("mlp_ratio", "num_heads")}
    return {
        "SUPERNET": {name.upper(): whole[name] for name in (*_REQUIRED, "mlp_ratio")},
        "RETRAIN": {**part, "DEPTH": arch.depth, "EMBED_DIM": arch.embed_dim},
    }


def supernet(largest: Arch, width: int | None = None) -> dict[str, Any]:
    """Return the sizes of the smallest official supernet that has room for an architecture.

    One that is as large as a published one is as deep. `width` is the fixed q-k-v width without
    change_qkv; with it, the width is 64 a head.
    """
    found = _room(largest, width)
    return {**found, "depth": whole(_largest(found), _published()).depth}


def _room(largest: Arch, width: int | None) -> dict[str, Any]:
    heads = max(largest.num_heads)
    if width is None:
        heads = max(heads, math.ceil(largest.embed_dim / HEAD_DIM))
    return {
        "embed_dim": width or HEAD_DIM * heads,
        "depth": largest.depth,
        "num_heads": heads,
        "mlp_ratio": max(largest.mlp_ratio),
    }


def recognises(names: Collection[str]) -> bool:
    """Return whether tensors are named as the official code names them."""
    marks = (".attn.qkv.", ".attn_layer_norm.")
    if all(any(mark in name for name in names) for mark in marks):
        return "patch_embed.weight" not in names  # as NNI 2.8 calls it
    return any(name.startswith("patch_embed_super.") for name in names)


def describes(foreign: Any) -> bool:
    """Return whether this looks like the official description of a subnet."""
    if not isinstance(foreign, Mapping):
        return False
    record = {str(name).lower(): value for name, value in foreign.items()}
    retrain = record.get("retrain")  # a part that ViTAS's YAMLs have too, of other content
    if isinstance(retrain, Mapping) and "depth" in {str(name).lower() for name in retrain}:
        return True
    return "layer_num" in record or record.keys() >= {"depth", *_PER_LAYER}


def _read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a config says; of the official YAML that is SUPERNET and what stands beside."""
    if isinstance(config.get("SUPERNET"), Mapping):
        beside = {name: value for name, value in config.items() if not str(name).isupper()}
        sizes = {str(name).lower(): value for name, value in config["SUPERNET"].items()}
        if twice := sorted(beside.keys() & sizes.keys()):
            raise InputError(f"official AutoFormer config: {', '.join(twice)} stand twice")
        return _read_config({**beside, **sizes})
    known = {*_SAME, *_REQUIRED, *_FLAGS, "mlp_ratio", "pre_norm", *_INERT, *_OFF}
    for name, value in config.items():
        if name not in known:
            raise unknown("official AutoFormer argument", name, known)
        if name in _OFF and value not in (None, False):
            raise InputError(f"official AutoFormer config: {name}={value!r} is not supported")
    return dict(config)


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    if "img_size" not in given:
        raise InputError(
            "the weights have no pos_embed to read the image size from; give a config with "
            "img_size, and if the network never had positions, with abs_pos: false"
        )
    check_arguments("official AutoFormer", given)
    if given["change_qkv"] and given["embed_dim"] != HEAD_DIM * given["num_heads"]:
        raise InputError(
            f"official AutoFormer config: with change_qkv, embed_dim must be {HEAD_DIM} times "
            f"num_heads, got {given['embed_dim']} and {given['num_heads']}"
        )
    return given


def _largest(given: Mapping[str, Any]) -> Arch:
    depth = given["depth"]
    return Arch(
        "autoformer",
        depth=depth,
        mlp_ratio=(given["mlp_ratio"],) * depth,
        num_heads=(given["num_heads"],) * depth,
        embed_dim=given["embed_dim"],
    )


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    fixed = None if given["change_qkv"] else given["embed_dim"]
    return {
        **{name: given[name] for name in _SAME},
        "head_dim": HEAD_DIM,
        "pool": "avg" if given["gp"] else "token",
        "post_norm": not given["pre_norm"],
        "final_norm": given["pre_norm"],
        "fixed_attn_dim": fixed,
    }


def _theirs(name: str) -> str:
    return common.rename(name, _THEIRS)


def _deinterleave(weight: Tensor) -> Tensor:
    return _transposed(weight, (-1, 3))


def _interleave(weight: Tensor) -> Tensor:
    return _transposed(weight, (3, -1))


def _transposed(weight: Tensor, rows: tuple[int, int]) -> Tensor:
    """Return a weight with its rows, laid out as a table of this shape, taken column by column."""
    moved: Tensor = weight.unflatten(0, rows).transpose(0, 1).flatten(0, 1)
    return moved
