"""MMRazor's AutoFormer (open-mmlab/mmrazor 1.0): weights and architectures, in and out.

Weights whose layers are all alike are a supernet; others are an exported subnet, whose class token
and positions MMRazor leaves at the supernet's width. q, k and v are projections of their own and a
subnet takes the first heads of each, so the biases are nested as in this package.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vitnas.arch import Arch
from vitnas.errors import InputError, unknown
from vitnas.interop import autoformer as common
from vitnas.interop import holding
from vitnas.interop.absent import Words
from vitnas.interop.arguments import check_arguments
from vitnas.interop.descriptions import read_mapping
from vitnas.interop.published import named, networks, whole
from vitnas.models.autoformer import FAMILY
from vitnas.space import Space
from vitnas.spaces.mmrazor import SPACES

if TYPE_CHECKING:
    from torch import Tensor, nn

_log = logging.getLogger(__name__)

_ORIGINAL = "MMRazor AutoFormer"
WRAPPER = "state_dict"
"""Where a checkpoint holds the state."""

_PREFIX = "architecture."
_REACH, _PATCH = 14, 16
_NAMES = {
    "patch_embed.proj.": "patch_embed.projection.",
    ".norm1.": ".ln1.",
    ".norm2.": ".ln2.",
    ".mlp.": ".",
    ".attn.q.": ".attn.w_qs.",
    ".attn.k.": ".attn.w_ks.",
    ".attn.v.": ".attn.w_vs.",
    **common.TABLES,
}
_WORDS = Words(
    {
        "qkv_bias": "qkv_bias",
        "use_final_norm": "final_norm",
        "num_classes": "num_classes",
    },
    depth="arch_setting: {{depth: [{}]}}",
)

_MARKS = (".attn.w_qs.", ".attn.w_ks.", ".attn.w_vs.", "backbone.patch_embed.projection.")
_WIDE = ("cls_token", "pos_embed")
_SETTING = {
    "embed_dims": "embed_dim",
    "mlp_ratios": "mlp_ratio",
    "num_heads": "num_heads",
    "depth": "depth",
}
_KNOWN = {
    *("arch_setting", "img_size", "patch_size", "in_channels", "num_classes", "qkv_bias"),
    *("use_final_norm", "max_relative_position", "drop_rate", "drop_path_rate", "init_cfg"),
}
_FIXED = {"norm_cfg": "DynamicLayerNorm", "act_cfg": "GELU"}
_DEPTH, _WIDTH = "mutable_depth", "mutable_embed_dims"
_OF_BLOCK = ("attn.mutable_attrs.num_heads", "mutable_mlp_ratios")


def load(
    state_dict: Mapping[str, Tensor], config: Mapping[str, Any], space: Space | None = None
) -> nn.Module:
    """Make a supernet, or of an exported subnet's weights a static model; the logits are MMRazor's.

    Which of them it is, the config's `arch_setting` tells, if it has all lists: a supernet has its
    largest sizes, and there is something to choose. Without it the layers of a supernet are all
    alike, and its class token is as wide as they are. Buffers called `mask` are left out; the
    prefix `architecture.` may be there or not.

    Args:
        state_dict: the state of algorithm, architecture or exported subnet.
        config: the backbone's arguments, in its names (arch_setting, img_size, ...), and the head's
            num_classes. What it lacks is read off the weights.
        space: the architectures of a supernet to serve; by default those of `arch_setting`,
            without it all that fit inside.

    Raises:
        InputError: an unknown argument, weights that don't fit it, or a space for a subnet.
    """
    said = _read_config(config)
    given = {**infer_config(state_dict), **said}
    state = {name: tensor for name, tensor in state_dict.items() if not _is_mask(name)}
    theirs, setting = _names(state), given.get("arch_setting") or {}
    ratios, depths = (setting.get(name, ()) for name in ("mlp_ratios", "depth"))
    depth, known = depths[0] if len(depths) == 1 else None, _published(setting)
    arch = whole(common.infer_arch(state, theirs, _ORIGINAL, ratios, depth), known, depths)
    common.check_listed(_ORIGINAL, arch, _SETTING, setting, "arch_setting's ")
    wide = [theirs(name) for name in _WIDE if _width(state, theirs(name)) > arch.embed_dim]
    if "embed_dims" in setting:
        widest = max(setting["embed_dims"])
        wide = [name for name in wide if _width(state, name) == widest]
    if complete := setting.keys() == _SETTING.keys():
        supernet = _choices(setting, *_SETTING) and arch == _largest(setting)
    else:
        supernet = len(set(arch.num_heads)) == len(set(arch.mlp_ratio)) == 1 and not wide
    if space is None and complete and supernet:
        lists = {gene: setting[name] for name, gene in _SETTING.items()}
        space = common.listed_space(lists, arch)
    if not supernet:
        state |= {name: state[name][..., : arch.embed_dim] for name in wide}
    words = replace(_WORDS, published=named(arch, known))
    return common.make(
        state, theirs, _ORIGINAL, arch, _options(given), space, supernet=supernet, words=words
    )


def _published(setting: Mapping[str, Any]) -> dict[str, Arch]:
    """Return the networks that weights with this `arch_setting` are taken for.

    Those are its largest, unless all of its networks begin as that, and the published networks;
    without all lists, the published supernet instead of its largest.
    """
    found = networks(FAMILY.name)
    if setting.keys() != _SETTING.keys():
        return found | {f"the supernet of {name}": one().largest for name, one in SPACES.items()}
    if _choices(setting, "embed_dims", "mlp_ratios", "num_heads"):
        found["the supernet of arch_setting"] = _largest(setting)
    return found


def _choices(setting: Mapping[str, Any], *names: str) -> bool:
    """Return whether one of these lists has more than one value."""
    return any(len(set(setting[name])) > 1 for name in names)


def infer_config(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the arguments that weights imply. Images are square, as MMRazor's are.

    Everything that a network can do without is taken to be there, as weights may have lost it: only
    a config can say otherwise.

    Raises:
        InputError: these are not MMRazor's weights.
    """
    theirs = _names(state_dict)

    def size(name: str, dim: int, dims: int) -> int | None:
        return common.size(state_dict, theirs(name), dim, dims, _ORIGINAL)

    patch, channels = size("patch_embed.proj.weight", 3, 4), size("patch_embed.proj.weight", 1, 4)
    positions = size("pos_embed", 1, 3)
    missing = [
        theirs(name)
        for name, n in (("patch_embed.proj.weight", patch), ("pos_embed", positions))
        if n is None
    ]
    if patch is None or positions is None:
        raise InputError(f"not {_ORIGINAL} weights: {', '.join(missing)} missing")
    table = common.table_rows(state_dict, theirs, _ORIGINAL)
    return {
        "img_size": math.isqrt(max(0, positions - 1)) * patch,
        "patch_size": patch,
        "in_channels": channels,
        "num_classes": common.num_classes(state_dict, theirs, _ORIGINAL),
        "qkv_bias": True,
        "use_final_norm": True,
        "max_relative_position": _REACH if table is None else table // 2 - 1,
    }


def dump(net: nn.Module, *, space: Space | None = None, lossy: bool = False) -> dict[str, Tensor]:
    """Return the weights in MMRazor's format (prefix `architecture.`, no masks), copied.

    Args:
        net: an AutoFormer supernet or static model.
        space: what is searched in MMRazor: the format has its largest widths, and so have class
            token and positions of a static model. By default a supernet's own space, else all that
            it stores; a static model's own width.
        lossy: go on where subnets change: those of official supernets with fewer heads.

    Raises:
        InputError: MMRazor has no such net, or something would be lost.
    """
    from torch.nn.functional import pad

    _, config = holding.describe(net, _ORIGINAL)
    if config.patch_size != _PATCH:
        raise InputError(
            f"the {_ORIGINAL} can't hold this net: its patches are {_PATCH} pixels whatever its "
            f"patch_size says, not {config.patch_size}"
        )
    needed = min(config.max_relative_position, max(config.grid) - 1)
    if needed > _REACH:
        raise InputError(
            f"the {_ORIGINAL} can't hold this net: its relative positions reach {_REACH} patches, "
            f"not {needed}"
        )
    options = _options(arguments(net))
    state = holding.apart_state(net, _ORIGINAL, options, space, lossy)
    if space is not None:
        for name in _WIDE:
            state[name] = pad(state[name], (0, space.largest.embed_dim - state[name].shape[-1]))
    return {_theirs(name, _PREFIX): tensor.detach().clone() for name, tensor in state.items()}


def lost(net: nn.Module, space: Space | None = None) -> list[str]:
    """Return what MMRazor's format can't keep of a net that it can hold."""
    return holding.lost(net, space, legacy=False)


def arguments(net: nn.Module, space: Space | None = None) -> dict[str, Any]:
    """Return the arguments of MMRazor's backbone and head for a net, with what is searched.

    The lists of a static model hold its own sizes; those of a supernet without a space its depth.

    Raises:
        InputError: it is no AutoFormer of this package, or its layers differ in their choices.
    """
    _, config = holding.describe(net, _ORIGINAL)
    lists = holding.choices(net, space, _ORIGINAL)
    setting = {name: lists[gene] for name, gene in _SETTING.items() if gene in lists}
    return {
        **({"arch_setting": setting} if setting else {}),
        "img_size": config.img_size[0],
        "patch_size": config.patch_size,
        "in_channels": config.in_chans,
        "num_classes": config.num_classes,
        "qkv_bias": config.qkv_bias,
        "use_final_norm": config.final_norm,
    }


def arch(foreign: Mapping[str, Any] | str) -> Arch:
    """Read MMRazor's description of a subnet: the exported YAML or JSON, as text or as a mapping.

    Values stand alone or as {chosen: value}, names with any prefix or none. Depth, widths, heads
    and MLP ratios count; the copies of them (`mutable_q_embed_dims`, `middle_channels`) don't, as
    they hold one of several sources at random, nor do layers beyond the depth. The values alone
    (embed_dims, depth, num_heads, mlp_ratios) are read as well.

    Raises:
        InputError: a field is missing or malformed, or two prefixes are mixed.
    """
    record = read_mapping(foreign, _ORIGINAL)
    values = {name: _chosen(name, value) for name, value in record.items()}
    if not any(name.endswith(_DEPTH) for name in values):
        return _plain(values)
    prefixes = {name.removesuffix(_DEPTH) for name in values if name.endswith(_DEPTH)}
    if len(prefixes) > 1:
        raise InputError(f"{_ORIGINAL} architecture: {_DEPTH} stands several times")
    prefix = prefixes.pop()
    depth = common.read_depth(_ORIGINAL, values[prefix + _DEPTH])
    names = [[f"{prefix}blocks.{i}.{name}" for i in range(depth)] for name in _OF_BLOCK]
    missing = [n for n in (prefix + _WIDTH, *names[0], *names[1]) if n not in values]
    if missing:
        raise InputError(f"{_ORIGINAL} architecture: {', '.join(missing)} missing")
    heads, ratios = ([values[name] for name in row] for row in names)
    width = values[prefix + _WIDTH]
    return common.own_arch(depth, mlp_ratio=ratios, num_heads=heads, embed_dim=width)


def foreign(
    arch: Arch, space: Space | None = None, prefix: str = "architecture.backbone."
) -> dict[str, Any]:
    """Return MMRazor's description of a subnet, as its search exports it.

    With a space also of the inactive layers, at the minimum: MMRazor's loader wants those that its
    supernet has.

    Raises:
        InputError: the architecture is no AutoFormer, has a gene that MMRazor lacks, or is not in
            the space.
    """
    common.check_family(arch, _ORIGINAL)
    record = {_DEPTH: arch.depth, _WIDTH: arch.embed_dim, "base_embed_dims": common.HEAD_DIM}
    for i, (ratio, heads) in enumerate(common.layers(arch, space)):
        record |= {
            f"blocks.{i}.attn.mutable_attrs.num_heads": heads,
            f"blocks.{i}.mutable_mlp_ratios": ratio,
            f"blocks.{i}.mutable_q_embed_dims": common.HEAD_DIM,
            f"blocks.{i}.middle_channels": ratio,
        }
    return {prefix + name: {"chosen": value} for name, value in record.items()}


def description(arch: Arch, space: Space | None = None) -> dict[str, Any]:
    """Return MMRazor's description of a subnet; see `foreign`. Without a space, warn."""
    record = foreign(arch, space)
    if space is None:
        _log.warning(
            "MMRazor's loader wants the layers beyond depth %d that its supernet has; they are "
            "left out, as no search space is known: name it (--space; in Python space=)",
            arch.depth,
        )
    return record


def recognises(names: Collection[str]) -> bool:
    """Return whether tensors are named as MMRazor names them."""
    return any(mark in name for name in names for mark in _MARKS)


def describes(foreign: Any) -> bool:
    """Return whether this looks like MMRazor's description of a subnet."""
    if not isinstance(foreign, Mapping):
        return False
    ends = (_DEPTH, _WIDTH, *_OF_BLOCK)
    return any(str(name).endswith(ends) for name in foreign) or foreign.keys() >= _SETTING.keys()


def _is_mask(name: str) -> bool:
    return name.rpartition(".")[2] == "mask"


def _theirs(name: str, prefix: str) -> str:
    """Return MMRazor's name of ours, q, k and v apart."""
    if name.startswith("head."):
        return f"{prefix}{name.replace('head.', 'head.fc.')}"
    if name.startswith("norm."):
        return f"{prefix}backbone.{name.replace('norm.', 'ln.')}"
    return f"{prefix}backbone.{common.rename(name, _NAMES)}"


def _names(state: Collection[str]) -> Callable[[str], str]:
    prefix = _PREFIX if any(name.startswith(_PREFIX) for name in state) else ""
    return lambda name: _theirs(name, prefix)


def _width(state: Mapping[str, Tensor], name: str) -> int:
    return state[name].shape[-1] if name in state and state[name].dim() == 3 else 0


def _largest(setting: Mapping[str, Any]) -> Arch:
    most = {gene: max(setting[name]) for name, gene in _SETTING.items()}
    layers = {gene: (most[gene],) * most["depth"] for gene in ("mlp_ratio", "num_heads")}
    return Arch("autoformer", **{**most, **layers})


def _read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(config, Mapping):
        raise InputError(f"{_ORIGINAL} config: it must be a mapping, got {config!r}")
    for name, value in config.items():
        if name in _FIXED:
            kind = value.get("type") if isinstance(value, Mapping) else value
            if not str(kind).endswith(_FIXED[name]):
                raise InputError(f"{_ORIGINAL} config: {name} is {value!r}, not {_FIXED[name]}")
        elif name not in _KNOWN:
            raise unknown(f"{_ORIGINAL} argument", name, {*_KNOWN, *_FIXED})
    check_arguments(_ORIGINAL, config)
    setting = config.get("arch_setting")
    if setting is None:
        return {name: config[name] for name in config if name != "arch_setting"}
    if not isinstance(setting, Mapping) or not setting or not setting.keys() <= _SETTING.keys():
        raise InputError(
            f"{_ORIGINAL} config: arch_setting is {setting!r}; it must have lists of "
            f"{', '.join(_SETTING)}, or some of them"
        )
    lists = {
        name: common.read_list(_ORIGINAL, name, _SETTING[name], values)
        for name, values in setting.items()
    }
    return {**config, "arch_setting": lists}


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "img_size": given["img_size"],
        "patch_size": given["patch_size"],
        "in_chans": given["in_channels"],
        "num_classes": given["num_classes"],
        "qkv_bias": given["qkv_bias"],
        "final_norm": given["use_final_norm"],
        "max_relative_position": given.get("max_relative_position", _REACH),
        "head_dim": common.HEAD_DIM,
    }


def _chosen(name: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    if "chosen" not in value:
        raise InputError(f"{_ORIGINAL} architecture: {name} is {value!r}; it needs `chosen`")
    return value["chosen"]


def _plain(values: Mapping[str, Any]) -> Arch:
    genes = {_SETTING.get(name, name): value for name, value in values.items()}
    missing = [name for name in _SETTING.values() if name not in genes]
    if missing:
        raise InputError(
            f"{_ORIGINAL} architecture: neither {_DEPTH} nor {', '.join(missing)} is there"
        )
    depth = common.read_depth(_ORIGINAL, genes["depth"])
    lists = {gene: common.cut(genes[gene], depth) for gene in ("mlp_ratio", "num_heads")}
    return common.own_arch(depth, **lists, embed_dim=genes["embed_dim"])
