"""AutoFormer's official code (microsoft/Cream): weights and architectures, in and out.

Its qkv weight interleaves q, k and v row by row (row 3c+i belongs to channel c of q, k or v) while
its qkv bias is one flat vector of which a subnet takes the first 3n entries and cuts them into q,
k and v. Weights are reordered on the way in; the bias keeps its order through the sharing policy
`legacy`, so that every subnet has the official logits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vitnas.arch import Arch
from vitnas.errors import InputError, unknown
from vitnas.models import make_config
from vitnas.models.autoformer import FAMILY
from vitnas.models.base import check_genes
from vitnas.models.vit import GENES
from vitnas.space import Space

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vitnas.supernet import Supernet

_DEFAULTS = {
    "img_size": 224,
    "patch_size": 16,
    "in_chans": 3,
    "num_classes": 1000,
    "mlp_ratio": 4.0,
    "qkv_bias": True,
    "gp": False,
    "relative_position": False,
    "change_qkv": False,
    "abs_pos": True,
    "max_relative_position": 14,
    "pre_norm": True,
}
_COMMAND = {"gp": True, "relative_position": True, "change_qkv": True, "max_relative_position": 14}
"""The flags of every published command, which a YAML file does not have."""
_REQUIRED = ("embed_dim", "depth", "num_heads")
_SAME = (
    *("img_size", "patch_size", "in_chans", "num_classes", "qkv_bias", "abs_pos"),
    *("relative_position", "max_relative_position"),
)
_FREE = ("drop_path_rate", "drop_path_depth")
_PER_LAYER = ("embed_dim", "num_heads", "mlp_ratio")
_INERT = ("drop_rate", "attn_drop_rate", "drop_path_rate", "norm_layer", "rpe_type")
_OFF = ("scale", "qk_scale", "hybrid_backbone")
_NAMES = {
    "patch_embed_super.": "patch_embed.",
    ".attn_layer_norm.": ".norm1.",
    ".ffn_layer_norm.": ".norm2.",
    ".fc1.": ".mlp.fc1.",
    ".fc2.": ".mlp.fc2.",
    ".rel_pos_embed_k.embeddings_table_v": ".rel_k_rows",
    ".rel_pos_embed_k.embeddings_table_h": ".rel_k_cols",
    ".rel_pos_embed_v.embeddings_table_v": ".rel_v_rows",
    ".rel_pos_embed_v.embeddings_table_h": ".rel_v_cols",
}
_THEIRS = {ours: theirs for theirs, ours in _NAMES.items()}
HEAD_DIM = 64


def load(
    state_dict: Mapping[str, Tensor], config: Mapping[str, Any], space: Space | None = None
) -> Supernet:
    """Make a supernet of official AutoFormer weights; every subnet has the official logits.

    Args:
        state_dict: the official `model` state.
        config: the official constructor's arguments, in its names (embed_dim, depth, num_heads,
            mlp_ratio, gp, relative_position, change_qkv, abs_pos, ...), or the official YAML with
            its part SUPERNET, which stands for the flags of the published commands.
        space: the architectures to serve; by default all that fit inside the largest.

    Raises:
        InputError: an unknown or unsupported argument, or weights that don't fit it.
    """
    from vitnas.interop.checkpoint import misfits, refuse
    from vitnas.supernet import Supernet

    given = _read_config(config)
    net = Supernet(space, sharing="legacy", largest=_largest(given), **_options(given))
    theirs = {_rename(name, _THEIRS): tensor for name, tensor in net.state_dict().items()}
    missing, extra, wrong = misfits(state_dict, theirs)
    refuse("AutoFormer", {"missing": missing, "unexpected": extra, "wrong shape": wrong})
    ours = {_rename(name, _NAMES): tensor for name, tensor in state_dict.items()}
    if given["change_qkv"]:
        for i in range(given["depth"]):
            name = f"blocks.{i}.attn.qkv.weight"
            ours[name] = _deinterleave(ours[name])
    net.load_state_dict(ours)
    return net


def infer_config(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the constructor's arguments that official weights imply.

    What shapes can't show is taken as in every published command: mean pooling (gp) and
    change_qkv on. Images are taken to be square.

    Raises:
        InputError: these are not official AutoFormer weights, or they have no position table, from
            which the image size is read.
    """
    try:
        embed = state_dict["cls_token"].shape[-1]
        patch = state_dict["patch_embed_super.proj.weight"]
        hidden = state_dict["blocks.0.fc1.weight"].shape[0]
        classes = state_dict["head.weight"].shape[0]
    except KeyError as error:
        raise InputError(f"not official AutoFormer weights: {error.args[0]} missing") from error
    if "pos_embed" not in state_dict:
        raise InputError("the weights have no pos_embed to read the image size from; give a config")
    side = math.isqrt(state_dict["pos_embed"].shape[1] - 1)
    table = state_dict.get("blocks.0.attn.rel_pos_embed_k.embeddings_table_v")
    return {
        "img_size": side * patch.shape[-1],
        "patch_size": patch.shape[-1],
        "in_chans": patch.shape[1],
        "embed_dim": embed,
        "depth": len({name.split(".")[1] for name in state_dict if name.startswith("blocks.")}),
        "num_heads": embed // HEAD_DIM,
        "mlp_ratio": hidden / embed,
        "num_classes": classes,
        "qkv_bias": "blocks.0.attn.qkv.bias" in state_dict,
        "gp": True,
        "relative_position": table is not None,
        "change_qkv": True,
        "abs_pos": True,
        "max_relative_position": 14 if table is None else table.shape[0] // 2 - 1,
    }


def dump(net: nn.Module) -> dict[str, Tensor]:
    """Return a supernet's weights in the official format, copied.

    Raises:
        InputError: the net is no AutoFormer supernet in the official (`legacy`) storage order, or
            it has sizes or options that the official model can't have.
    """
    from vitnas.supernet import Supernet

    if not isinstance(net, Supernet) or net.largest.family != "autoformer":
        raise InputError("the official format holds AutoFormer supernets only")
    _check_official(net)
    interleaved = net.config.fixed_attn_dim is None
    foreign = {}
    for name, tensor in net.state_dict().items():
        if interleaved and name.endswith("attn.qkv.weight"):
            tensor = _interleave(tensor)
        foreign[_rename(name, _THEIRS)] = tensor.detach().clone()
    return foreign


def arch(foreign: Mapping[str, Any]) -> Arch:
    """Read the official description of a subnet.

    Either the training code's dict (layer_num, embed_dim as a list, num_heads, mlp_ratio) or the
    RETRAIN part of a subnet YAML (DEPTH, EMBED_DIM, NUM_HEADS, MLP_RATIO). What lists hold beyond
    the depth is left out, as it has no effect in the original.

    Raises:
        InputError: a field is missing or malformed, or embed_dim differs between layers (the
            original fails at its residual connections then).
    """
    part = foreign.get("RETRAIN", foreign) if isinstance(foreign, Mapping) else foreign
    if not isinstance(part, Mapping):
        raise InputError(f"official AutoFormer subnet: it must be a mapping, got {part!r}")
    record = {str(name).lower(): value for name, value in part.items()}
    if "depth" in record:
        record["layer_num"] = record["depth"]
    missing = [name for name in ("layer_num", *_PER_LAYER) if name not in record]
    if missing:
        raise InputError(f"official AutoFormer subnet: {', '.join(missing)} missing")
    depth = record["layer_num"]
    if not isinstance(depth, int):
        raise InputError(f"official AutoFormer subnet: layer_num is {depth!r}, not a whole number")
    genes = {name: _cut(record[name], depth) for name in _PER_LAYER}
    width = genes["embed_dim"]
    if isinstance(width, list):
        if len(width) != depth or any(one != width[0] for one in width):
            raise InputError(
                f"official AutoFormer subnet: embed_dim is {width}; it must be the same in all "
                f"{depth} layers"
            )
        genes["embed_dim"] = width[0]
    found = Arch("autoformer", depth=depth, **genes)
    check_genes(GENES, (), found)
    return found


def foreign(arch: Arch) -> dict[str, Any]:
    """Return the training code's description of a subnet.

    Raises:
        InputError: the architecture is no AutoFormer, or has a gene that the original lacks.
    """
    if arch.family != "autoformer":
        raise InputError(f"the official AutoFormer has no {arch.family} architectures")
    extra = [name for name in arch if name not in GENES]
    if extra:
        raise InputError(f"the official AutoFormer has no gene {', '.join(extra)} in its subnets")
    return {
        "layer_num": arch.depth,
        "embed_dim": [arch.embed_dim] * arch.depth,
        "num_heads": list(arch.num_heads),
        "mlp_ratio": list(arch.mlp_ratio),
    }


def _read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(config.get("SUPERNET"), Mapping):
        sizes = {name.lower(): value for name, value in config["SUPERNET"].items()}
        return _read_config({**_COMMAND, **sizes})
    missing = [name for name in _REQUIRED if name not in config]
    if missing:
        raise InputError(f"official AutoFormer config: {', '.join(missing)} missing")
    for name in _REQUIRED:
        if not isinstance(config[name], int):
            raise InputError(f"official AutoFormer config: {name} is {config[name]!r}, not whole")
    known = {*_DEFAULTS, *_REQUIRED, *_INERT, *_OFF}
    for name, value in config.items():
        if name not in known:
            raise unknown("official AutoFormer argument", name, known)
        if name in _OFF and value:
            raise InputError(f"official AutoFormer config: {name}={value!r} is not supported")
    given = {**_DEFAULTS, **config}
    if not given["pre_norm"]:
        raise InputError(
            "official AutoFormer config: pre_norm is off; no official command trains such a net, "
            "and this model has pre-norm blocks only"
        )
    if given["change_qkv"] and given["embed_dim"] != HEAD_DIM * given["num_heads"]:
        raise InputError(
            f"official AutoFormer config: with change_qkv, embed_dim must be {HEAD_DIM} times "
            f"num_heads, got {given['embed_dim']} and {given['num_heads']}"
        )
    return given


def _cut(value: Any, depth: int) -> Any:
    return list(value[:depth]) if isinstance(value, list | tuple) else value


def _largest(given: Mapping[str, Any]) -> Arch:
    depth = given["depth"]
    return Arch(
        "autoformer",
        depth=depth,
        mlp_ratio=(given["mlp_ratio"],) * depth,
        num_heads=(given["num_heads"],) * depth,
        embed_dim=given["embed_dim"],
    )


def _check_official(net: Supernet) -> None:
    """Check that the official model can have this storage, and has the same subnets then."""
    config, largest = net.config, net.largest
    others = {net.sharing.default, *(name for _, name in net.sharing.axes)} - {"prefix", "legacy"}
    if others:
        names = ", ".join(sorted(others))
        raise InputError(f"the official AutoFormer shares by prefix, not {names}")
    if config.fixed_attn_dim is None and config.qkv_bias and not net.sharing.legacy:
        raise InputError(
            "this supernet's qkv biases are nested; the official code slices them flat, so its "
            "subnets would change. Only supernets with sharing='legacy' go back unchanged"
        )
    given = {
        **{name: getattr(config, name) for name in _SAME},
        "gp": config.pool == "avg",
        "change_qkv": config.fixed_attn_dim is None,
        "depth": largest.depth,
        "embed_dim": largest.embed_dim,
        "num_heads": largest.num_heads[0],
        "mlp_ratio": largest.mlp_ratio[0],
    }
    official = _largest(_read_config({**given, "img_size": config.img_size[0]}))
    expected = make_config(FAMILY, official, _options({**_DEFAULTS, **given})).to_dict()
    ours = {**config.to_dict(), **{name: expected[name] for name in _FREE}}
    pairs = [(name, value, expected[name]) for name, value in ours.items()]
    pairs += [(name, largest[name], official[name]) for name in GENES]
    faults = [f"{name} is {mine}, not {theirs}" for name, mine, theirs in pairs if mine != theirs]
    if config.img_size[0] != config.img_size[1]:
        faults.append("img_size is not square")
    if faults:
        raise InputError(f"the official AutoFormer can't hold this supernet: {'; '.join(faults)}")


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    fixed = None if given["change_qkv"] else given["embed_dim"]
    return {
        **{name: given[name] for name in _SAME},
        "head_dim": HEAD_DIM,
        "pool": "avg" if given["gp"] else "token",
        "fixed_attn_dim": fixed,
    }


def _rename(name: str, table: Mapping[str, str]) -> str:
    for old, new in table.items():
        name = name.replace(old, new)
    return name


def _deinterleave(weight: Tensor) -> Tensor:
    return weight.unflatten(0, (-1, 3)).transpose(0, 1).flatten(0, 1)  # type: ignore[no-any-return]


def _interleave(weight: Tensor) -> Tensor:
    return weight.unflatten(0, (3, -1)).transpose(0, 1).flatten(0, 1)  # type: ignore[no-any-return]
