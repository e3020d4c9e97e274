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
_REQUIRED = ("embed_dim", "depth", "num_heads")
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
HEAD_DIM = 64


def load(
    state_dict: Mapping[str, Tensor], config: Mapping[str, Any], space: Space | None = None
) -> Supernet:
    """Make a supernet of official AutoFormer weights; every subnet has the official logits.

    Args:
        state_dict: the official `model` state.
        config: the official constructor's arguments, in its names (embed_dim, depth, num_heads,
            mlp_ratio, gp, relative_position, change_qkv, abs_pos, ...).
        space: the architectures to serve; by default all that fit inside the largest.

    Raises:
        InputError: an unknown or unsupported argument, or weights that don't fit it.
    """
    from vitnas.supernet import Supernet

    given = _read_config(config)
    depth, heads = given["depth"], given["num_heads"]
    largest = Arch(
        "autoformer",
        depth=depth,
        mlp_ratio=(given["mlp_ratio"],) * depth,
        num_heads=(heads,) * depth,
        embed_dim=given["embed_dim"],
    )
    net = Supernet(
        space,
        given["num_classes"],
        given["img_size"],
        sharing="legacy",
        largest=largest,
        **_options(given),
    )
    expected = net.state_dict()
    ours = {}
    for name, tensor in state_dict.items():
        ours[_rename(name, _NAMES)] = tensor
    _check_keys(ours, expected, state_dict)
    if given["change_qkv"]:
        for i in range(depth):
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
            it has width or tables that the official model can't have.
    """
    from vitnas.supernet import Supernet

    if not isinstance(net, Supernet) or net.largest.family != "autoformer":
        raise InputError("the official format holds AutoFormer supernets only")
    interleaved = net.config.fixed_attn_dim is None
    if interleaved and net.config.qkv_bias and not net.sharing.legacy:
        raise InputError(
            "this supernet's qkv biases are nested; the official code slices them flat, so its "
            "subnets would change. Only supernets with sharing='legacy' go back unchanged"
        )
    inverse = {ours: theirs for theirs, ours in _NAMES.items()}
    foreign = {}
    for name, tensor in net.state_dict().items():
        if interleaved and name.endswith("attn.qkv.weight"):
            tensor = _interleave(tensor)
        foreign[_rename(name, inverse)] = tensor.detach().clone()
    return foreign


def arch(foreign: Mapping[str, Any]) -> Arch:
    """Read the official description of a subnet.

    Either the training code's dict (layer_num, embed_dim as a list, num_heads, mlp_ratio) or the
    RETRAIN part of a subnet YAML (DEPTH, EMBED_DIM, NUM_HEADS, MLP_RATIO).

    Raises:
        InputError: a field is missing, or embed_dim differs between layers (the original fails at
            its residual connections then).
    """
    record = {name.lower(): value for name, value in foreign.get("RETRAIN", foreign).items()}
    if "depth" in record:
        record["layer_num"] = record["depth"]
    missing = [n for n in ("layer_num", "embed_dim", "num_heads", "mlp_ratio") if n not in record]
    if missing:
        raise InputError(f"official AutoFormer subnet: {', '.join(missing)} missing")
    depth, width = record["layer_num"], record["embed_dim"]
    widths = set(width[:depth]) if isinstance(width, list | tuple) else {width}
    if len(widths) != 1:
        raise InputError(
            f"official AutoFormer subnet: embed_dim is {width}; it must be the same in all layers"
        )
    return Arch(
        "autoformer",
        depth=depth,
        mlp_ratio=tuple(record["mlp_ratio"][:depth]),
        num_heads=tuple(record["num_heads"][:depth]),
        embed_dim=widths.pop(),
    )


def foreign(arch: Arch) -> dict[str, Any]:
    """Return the training code's description of a subnet."""
    if arch.family != "autoformer":
        raise InputError(f"the official AutoFormer has no {arch.family} architectures")
    return {
        "layer_num": arch.depth,
        "embed_dim": [arch.embed_dim] * arch.depth,
        "num_heads": list(arch.num_heads),
        "mlp_ratio": list(arch.mlp_ratio),
    }


def _read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    missing = [name for name in _REQUIRED if name not in config]
    if missing:
        raise InputError(f"official AutoFormer config: {', '.join(missing)} missing")
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


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    fixed = None if given["change_qkv"] else given["embed_dim"]
    return {
        "patch_size": given["patch_size"],
        "in_chans": given["in_chans"],
        "head_dim": HEAD_DIM,
        "pool": "avg" if given["gp"] else "token",
        "qkv_bias": given["qkv_bias"],
        "abs_pos": given["abs_pos"],
        "relative_position": given["relative_position"],
        "max_relative_position": given["max_relative_position"],
        "fixed_attn_dim": fixed,
    }


def _rename(name: str, table: Mapping[str, str]) -> str:
    for old, new in table.items():
        name = name.replace(old, new)
    return name


def _check_keys(
    ours: Mapping[str, Tensor], expected: Mapping[str, Tensor], given: Mapping[str, Tensor]
) -> None:
    back = {ours: theirs for theirs, ours in _NAMES.items()}
    missing = [_rename(name, back) for name in expected.keys() - ours.keys()]
    extra = [name for name in given if _rename(name, _NAMES) not in expected]
    wrong = [
        f"{_rename(name, back)} is {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}"
        for name, tensor in ours.items()
        if name in expected and tensor.shape != expected[name].shape
    ]
    faults = [
        f"{what}: {', '.join(sorted(names))}"
        for what, names in (("missing", missing), ("unexpected", extra), ("wrong shape", wrong))
        if names
    ]
    if faults:
        raise InputError(f"not the official AutoFormer of this config; {'; '.join(faults)}")


def _deinterleave(weight: Tensor) -> Tensor:
    return weight.unflatten(0, (-1, 3)).transpose(0, 1).flatten(0, 1)  # type: ignore[no-untyped-call, no-any-return]


def _interleave(weight: Tensor) -> Tensor:
    return weight.unflatten(0, (3, -1)).transpose(0, 1).flatten(0, 1)  # type: ignore[no-untyped-call, no-any-return]
