"""NNI's AutoFormer (microsoft/nni 2.9 to 3.0): weights and architectures, in and out.

A fixed subnet's weights are a static model; those of a model space or a one-shot supernet, whose
blocks stand one level deeper, are a supernet. q, k and v are projections of their own and a subnet
takes the first heads of each, so the biases are nested as in this package.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vitnas.arch import Arch
from vitnas.errors import InputError, unknown
from vitnas.interop import autoformer as common
from vitnas.interop import holding
from vitnas.interop.absent import Words
from vitnas.interop.arguments import check_arguments
from vitnas.interop.descriptions import read_mapping, read_text
from vitnas.interop.published import named, networks, whole
from vitnas.models.autoformer import FAMILY
from vitnas.space import Space
from vitnas.spaces.nni import SPACES

if TYPE_CHECKING:
    from torch import Tensor, nn

_ORIGINAL = "NNI AutoFormer"
WRAPPER = None
"""A checkpoint is the state itself."""

_VERSION_2 = {
    "in_chans": "in_channels",
    "num_classes": "num_labels",
    "global_pool": "global_pooling",
    "abs_pos": "absolute_position",
}
"""Arguments of NNI 2.9 and 2.10, and what they are called in 3.0."""

_SEARCH = {
    "search_embed_dim": "embed_dim",
    "search_mlp_ratio": "mlp_ratio",
    "search_num_heads": "num_heads",
    "search_depth": "depth",
}
_KNOWN = {
    *("img_size", "patch_size", "in_channels", "num_labels", "qkv_bias", "pre_norm", "rpe"),
    *("global_pooling", "absolute_position", "qk_scale"),
    *("drop_rate", "attn_drop_rate", "drop_path_rate", *_SEARCH),
}
_NAMES = {
    "patch_embed.proj.": "patch_embed.",
    ".norm1.": ".attn_layer_norm.",
    ".norm2.": ".ffn_layer_norm.",
    ".mlp.": ".",
    **common.TABLES,
}
_WORDS = Words(
    {
        "absolute_position": "abs_pos",
        "rpe": "relative_position",
        "qkv_bias": "qkv_bias",
        "pre_norm": "final_norm",
        "num_labels": "num_classes",
    },
    depth="search_depth: [{}]",
)

_TOKENS = {"cls_token": "cls_token.cls_token", "pos_embed": "pos_embed.pos_embed"}
_MARKS = re.compile(r"(cls_token\.cls|pos_embed\.pos)|blocks\.\d+\.attn\.[qkv]\.")
_FUSED = ".attn.qkv."
_GENE = re.compile(r"(mlp_ratio|num_head)_(\d+)$")
_SUMMARY = "mutation_summary"
_TRIAL = ("parameter", "parameters", _SUMMARY)
"""Where the record of a trial has the sample, one in another."""


def load(
    state_dict: Mapping[str, Tensor], config: Mapping[str, Any], space: Space | None = None
) -> nn.Module:
    """Make a supernet, or of a fixed subnet's weights a static model; the logits are NNI's.

    Args:
        state_dict: the state, with the keys of a fixed subnet, a model space or a supernet.
        config: the constructor's arguments in the names of 3.0 or of 2.x. What it lacks is read
            off the weights; what they can't show is as in every preset (`global_pooling` on, no
            `qk_scale`), or where 2.x names are used, as the default of 2.x (`global_pool` off).
            The widths must be among its `search_...` lists where it has them; a `search_depth` of
            one value is the depth also of a fixed subnet.
        space: the architectures of a supernet to serve; by default those of the config's lists,
            without lists all that fit inside.

    Raises:
        InputError: an unknown argument, weights that don't fit it, or a space for a subnet.
    """
    said = _read_config(config)
    given = {**infer_config(state_dict), **said}
    if "img_size" not in given:
        raise InputError(
            "the weights have neither pos_embed.pos_embed nor tables of relative positions to read "
            "the image size from; give a config with img_size"
        )
    supernet, ratios = _is_supernet(state_dict), given.get("search_mlp_ratio", ())
    theirs, depths = _names(supernet), given.get("search_depth", ())
    depth = max(depths) if depths and (supernet or len(depths) == 1) else None
    known = _published() if supernet else networks(FAMILY.name)
    arch = whole(common.infer_arch(state_dict, theirs, _ORIGINAL, ratios, depth), known, depths)
    common.check_listed(_ORIGINAL, arch, _SEARCH, given)
    if space is None and supernet:
        lists = {gene: given[name] for name, gene in _SEARCH.items() if name in given}
        space = common.listed_space(lists, arch)
    words, options = replace(_WORDS, published=named(arch, known)), _options(given)
    return common.make(
        state_dict, theirs, _ORIGINAL, arch, options, space, supernet=supernet, words=words
    )


def _published() -> dict[str, Arch]:
    """Return the supernets and the model spaces of NNI's presets, by the sizes of their weights.

    A model space that was never mutated has the first candidates, and all blocks.
    """
    found = {}
    for name, preset in SPACES.items():
        space = preset()
        found[f"the supernet of {name}"] = space.largest
        first = space.with_values(depth=(space.largest.depth,)).smallest
        found[f"the model space of {name}"] = first
    return found


def infer_config(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the constructor's arguments that weights imply, in the names of 3.0.

    What they can't show is taken as in every preset: `global_pooling` on and no `qk_scale`. Images
    are square, as NNI's are; their size is read from the positions, else from the tables of
    relative positions, which reach as far as an image has patches. Everything that a network can do
    without is taken to be there, as weights may have lost it: only a config can say otherwise.

    Raises:
        InputError: these are not NNI's weights.
    """
    if _is_fused(state_dict):
        raise InputError(
            "these are weights of NNI 2.8, whose heads are embed_dim / num_heads wide (attn.qkv); "
            "those of 2.9 to 3.0 are read, whose heads are 64 wide: train anew with these, or here "
            "(`vitnas train nni-scratch`)"
        )
    theirs = _names(_is_supernet(state_dict))

    def size(name: str, dim: int, dims: int) -> int | None:
        return common.size(state_dict, theirs(name), dim, dims, _ORIGINAL)

    patch, channels = size("patch_embed.proj.weight", 3, 4), size("patch_embed.proj.weight", 1, 4)
    if patch is None:
        missing = theirs("patch_embed.proj.weight")
        raise InputError(f"not {_ORIGINAL} weights: {missing} missing")
    positions, table = size("pos_embed", 1, 3), common.table_rows(state_dict, theirs, _ORIGINAL)

    found = {
        "patch_size": patch,
        "in_channels": channels,
        "num_labels": common.num_classes(state_dict, theirs, _ORIGINAL),
        "qkv_bias": True,
        "pre_norm": True,
        "absolute_position": True,
        "rpe": True,
        "global_pooling": True,
        "qk_scale": None,
    }
    if positions:
        found["img_size"] = math.isqrt(positions - 1) * patch
    elif table:
        found["img_size"] = (table // 2 - 1) * patch
    return found


def dump(net: nn.Module, *, space: Space | None = None, lossy: bool = False) -> dict[str, Tensor]:
    """Return the weights in NNI's format, copied: a supernet's keys, or a fixed subnet's.

    Args:
        net: an AutoFormer supernet or static model.
        space: of a supernet, what is searched in NNI, whose largest widths the format has; by
            default the supernet's own space, else all that it stores.
        lossy: go on where subnets change: those of official supernets with fewer heads.

    Raises:
        InputError: NNI has no such net, or something would be lost.
    """
    from vitnas.supernet import Supernet

    options = _options(arguments(net))
    state = holding.apart_state(net, _ORIGINAL, options, space, lossy)
    theirs = _names(isinstance(net, Supernet))
    return {theirs(name): tensor.detach().clone() for name, tensor in state.items()}


def lost(net: nn.Module, space: Space | None = None) -> list[str]:
    """Return what NNI's format can't keep of a net that it can hold."""
    return holding.lost(net, space, legacy=False)


def arguments(net: nn.Module, space: Space | None = None) -> dict[str, Any]:
    """Return NNI's constructor arguments of a net, with the lists of what is searched.

    The lists of a static model hold its own sizes; those of a supernet without a space its depth.

    Raises:
        InputError: it is no AutoFormer of this package, or its layers differ in their choices.
    """
    _, config = holding.describe(net, _ORIGINAL)
    lists = holding.choices(net, space, _ORIGINAL)
    return {
        **{name: lists[gene] for name, gene in _SEARCH.items() if gene in lists},
        "img_size": config.img_size[0],
        "patch_size": config.patch_size,
        "in_channels": config.in_chans,
        "num_labels": config.num_classes,
        "qkv_bias": config.qkv_bias,
        "pre_norm": not config.post_norm,
        "global_pooling": config.pool == "avg",
        "absolute_position": config.abs_pos,
        "qk_scale": config.qk_scale,
        "rpe": config.relative_position,
    }


def arch(foreign: Mapping[str, Any] | list[Any] | str) -> Arch:
    """Read NNI's description of an architecture: the flat sample, or its JSON text.

    Genes of layers beyond the depth are left out, as they have no effect. A list of one sample and
    the record of a trial are opened.

    Raises:
        InputError: a field is missing, unknown or malformed, or these are several samples.
    """
    found = _sample(read_text(foreign, _ORIGINAL))
    if isinstance(found, list) and len(found) > 1:
        raise InputError(
            f"{_ORIGINAL} architecture: a list of {len(found)} samples; give one of them alone "
            "(export_top_models puts the best first)"
        )
    record = read_mapping(found, _ORIGINAL)
    for name in record:
        if name not in ("depth", "embed_dim") and not _GENE.fullmatch(name):
            raise unknown(
                f"{_ORIGINAL} gene", name, ("depth", "embed_dim", "mlp_ratio_0", "num_head_0")
            )
    layers = range(common.read_depth(_ORIGINAL, record["depth"]) if "depth" in record else 0)
    needed = ["depth", "embed_dim"]
    needed += [f"{gene}_{i}" for i in layers for gene in ("mlp_ratio", "num_head")]
    missing = [name for name in needed if name not in record]
    if missing:
        raise InputError(f"{_ORIGINAL} architecture: {', '.join(missing)} missing")
    return common.own_arch(
        len(layers),
        mlp_ratio=[record[f"mlp_ratio_{i}"] for i in layers],
        num_heads=[record[f"num_head_{i}"] for i in layers],
        embed_dim=record["embed_dim"],
    )


def foreign(arch: Arch, space: Space | None = None) -> dict[str, Any]:
    """Return NNI's flat description; with a space also of its inactive layers, at the minimum.

    Raises:
        InputError: the architecture is no AutoFormer, has a gene that NNI lacks, or is not in the
            space.
    """
    common.check_family(arch, _ORIGINAL)
    record: dict[str, Any] = {"embed_dim": arch.embed_dim, "depth": arch.depth}
    for i, (ratio, heads) in enumerate(common.layers(arch, space)):
        record |= {f"mlp_ratio_{i}": ratio, f"num_head_{i}": heads}
    return record


description = foreign


def recognises(names: Collection[str]) -> bool:
    """Return whether tensors are named as NNI names them."""
    return any(_MARKS.search(name) for name in names) or _is_fused(names)


def describes(foreign: Any) -> bool:
    """Return whether this looks like NNI's description of an architecture."""
    found = _sample(foreign)
    samples = map(_sample, found if isinstance(found, list) else [found])
    names = (str(name) for one in samples if isinstance(one, Mapping) for name in one)
    told = isinstance(foreign, Mapping) and _SUMMARY in foreign
    return told or any(_GENE.fullmatch(name) for name in names)


def _sample(foreign: Any) -> Any:
    """Return what a list of one holds, or the record of a trial."""
    if isinstance(foreign, list) and len(foreign) == 1:
        foreign = foreign[0]
    for name in _TRIAL:
        if isinstance(foreign, Mapping) and name in foreign:
            foreign = foreign[name]
    return foreign


def _is_fused(names: Collection[str]) -> bool:
    """Return whether tensors are named as NNI 2.8 names them."""
    return "patch_embed.weight" in names and any(_FUSED in name for name in names)


def _is_supernet(state: Collection[str]) -> bool:
    return any(name.startswith("blocks.blocks.") for name in state)


def _names(supernet: bool) -> Callable[[str], str]:
    """Return the function from our names, q, k and v apart, to NNI's."""

    def theirs(name: str) -> str:
        if name in _TOKENS:
            return _TOKENS[name]
        found = common.rename(name, _NAMES)
        return f"blocks.{found}" if supernet and found.startswith("blocks.") else found

    return theirs


def _read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(config, Mapping):
        raise InputError(f"{_ORIGINAL} config: it must be a mapping, got {config!r}")
    given: dict[str, Any] = {}
    for name, value in config.items():
        new = _VERSION_2.get(name, name)
        if new not in _KNOWN:
            raise unknown(f"{_ORIGINAL} argument", name, {*_KNOWN, *_VERSION_2})
        if new in given:
            raise InputError(f"{_ORIGINAL} config: {new} stands twice, in both versions' names")
        listed = name in _SEARCH
        given[new] = common.read_list(_ORIGINAL, name, _SEARCH[name], value) if listed else value
    check_arguments(_ORIGINAL, given)
    if any(name in _VERSION_2 for name in config):
        given.setdefault("global_pooling", False)
    return given


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "img_size": given["img_size"],
        "patch_size": given["patch_size"],
        "in_chans": given["in_channels"],
        "num_classes": given["num_labels"],
        "qkv_bias": given["qkv_bias"],
        "post_norm": not given["pre_norm"],
        "final_norm": given["pre_norm"],
        "pool": "avg" if given["global_pooling"] else "token",
        "abs_pos": given["absolute_position"],
        "qk_scale": given["qk_scale"],
        "relative_position": given["rpe"],
        "max_relative_position": max(1, given["img_size"] // given["patch_size"]),
        "head_dim": common.HEAD_DIM,
    }
