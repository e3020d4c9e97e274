"""S3's official code (microsoft/Cream, AutoFormerV2): weights and architectures, in and out.

The released weights are single networks, no supernets. Patch merging stands at the end of a stage
there and at the start of the next here (as in timm); index and mask of the windows are part of the
official state, and are checked on the way in.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vitnas.arch import Arch
from vitnas.errors import InputError, unknown
from vitnas.interop.absent import Words, advice, folded
from vitnas.interop.arguments import check_arguments
from vitnas.interop.descriptions import read_mapping
from vitnas.interop.published import named
from vitnas.interop.s3_shapes import infer_config as infer_config
from vitnas.interop.s3_shapes import published
from vitnas.models import make_config
from vitnas.models.base import check_genes
from vitnas.models.swin import FAMILY, GENES
from vitnas.space import Space

if TYPE_CHECKING:
    from torch import Tensor, nn

_DEFAULTS = {"img_size": 224, "patch_size": 4, "in_chans": 3, "num_classes": 1000, "qkv_bias": True}
_LISTS = {"num_heads": "heads", "window_size": "windows", "mlp_ratio": "MLP ratios"}
_REQUIRED = ("embed_dim", "depths", *_LISTS)
_INERT = ("drop_rate", "attn_drop_rate", "drop_path_rate", "norm_layer", "use_checkpoint")
_FIXED = {"ape": False, "patch_norm": True, "qk_scale": None}
_WORDS = Words(
    {name: name for name in ("qkv_bias", "num_classes")},
    depth="depths: {}",
)

_BUFFER = re.compile(r"attn_mask|attn\.relative_position_index")
_MARK = re.compile(r"layers\.\d+\.blocks\.\d+\.attn\.relative_position_(bias_table|index)")
_MERGE = re.compile(r"^layers\.(\d+)\.downsample\.")
WRAPPER = "model"
"""Where a checkpoint holds the state."""

_log = logging.getLogger(__name__)


def load(
    state_dict: Mapping[str, Tensor], config: Mapping[str, Any], space: Space | None = None
) -> nn.Module:
    """Make a static model of official S3 weights; it has the official logits.

    Args:
        state_dict: the official `model` state; index and mask buffers may be left out.
        config: the official constructor's arguments, in its names (embed_dim, depths, num_heads,
            window_size, mlp_ratio, img_size, ...), or the official YAML. What it lacks is as
            `infer_config` has it.
        space: must be None, as the weights are no supernet's.

    Raises:
        InputError: a space, an unknown or unsupported argument, or weights that don't fit it.
    """
    import torch

    from vitnas.supernet import build

    if space is not None:
        raise InputError("official S3 weights are one network, no supernet: leave the space out")
    said = _lower(config)
    whole = said.keys() >= {*_REQUIRED, *_DEFAULTS}
    given = _read_config(said if whole else infer_config(state_dict, said))
    found = _arch(given)
    known = published(given["img_size"] // given["patch_size"])
    words = replace(_WORDS, published=named(found, known))

    def empty() -> nn.Module:
        return build(found, **{name: given[name] for name in _DEFAULTS})

    with torch.device("meta"):  # a config can ask for more memory than there is
        _check_shapes(state_dict, _official(empty()), words)
    model = empty()
    _check_buffers(state_dict, _official(model))
    model.load_state_dict(
        {_ours(name): tensor for name, tensor in state_dict.items() if not _BUFFER.search(name)}
    )
    return model


def recognises(names: Collection[str]) -> bool:
    """Return whether tensors are named as the official code names them, not as timm does."""
    timms = any(name.startswith("head.fc.") for name in names)
    return not timms and any(_MARK.fullmatch(name) for name in names)


def describes(foreign: Any) -> bool:
    """Return whether this looks like the official description of a network."""
    return isinstance(foreign, Mapping) and {"depths", "window_size"} <= {
        str(name).lower() for name in foreign
    }


def dump(net: nn.Module, *, space: Space | None = None, lossy: bool = False) -> dict[str, Tensor]:
    """Return a static model's state in the official format, buffers included, copied.

    Nothing can be lost, so `lossy` has no effect; `space` must be None.

    Raises:
        InputError: it is no S3 model of this package, or one that the official code can't run.
    """
    if space is not None:
        raise InputError("the official S3 format holds single networks: leave the space out")
    arch, config = _describe(net)
    for unit in FAMILY.units(config, arch):
        if unit.kind.role.startswith("block"):
            embed, heads = (unit.kind.sizes[i][1] for i in (0, 1))
            if heads * config.head_dim != embed or config.head_dim != 32:
                raise InputError(
                    f"the official code can't run {unit.path}: its q-k-v width must be the "
                    f"embed_dim, {embed}, in heads of 32, not {heads} heads of {config.head_dim}"
                )
    return {name: tensor.detach().clone() for name, tensor in _official(net).items()}


def lost(net: nn.Module, space: Space | None = None) -> list[str]:
    """Return what the official format can't keep of a net that it can hold: nothing."""
    return []


def arguments(net: nn.Module, space: Space | None = None) -> dict[str, Any]:
    """Return the official constructor's arguments of a static model.

    Raises:
        InputError: it is no S3 model of this package.
    """
    found, config = _describe(net)
    sizes = {name: getattr(config, name) for name in _DEFAULTS}
    genes = Arch(FAMILY.name, **{name: found[name] for name in GENES})
    return {**sizes, "img_size": config.img_size[0], **foreign(genes)}


def arch(foreign: Mapping[str, Any] | str) -> Arch:
    """Read the official description of a network: the constructor's arguments, or the YAML's text.

    What lists hold beyond the depth of a stage is left out with a warning: it has no effect in the
    original (S3-T.yaml lists eight blocks for the six of stage 3).

    Raises:
        InputError: a field is missing or malformed.
    """
    return _arch(_read_config(_lower(read_mapping(foreign, "official S3"))))


def foreign(arch: Arch) -> dict[str, Any]:
    """Return the official constructor's arguments of an architecture.

    Raises:
        InputError: the architecture is no S3, or has a gene that the original lacks.
    """
    if arch.family != FAMILY.name:
        raise InputError(f"the official S3 has no {arch.family} architectures")
    extra = [name for name in arch if name not in GENES]
    if extra:
        raise InputError(f"the official S3 has no gene {', '.join(extra)} in its networks")
    lists = {name: [list(row) for row in getattr(arch, name)] for name in _LISTS}
    return {"embed_dim": list(arch.embed_dim), "depths": list(arch.depth), **lists}


def description(arch: Arch, space: Space | None = None) -> dict[str, Any]:
    """Return an architecture as the official YAML; see `foreign`."""
    return foreign(arch)


def _describe(net: nn.Module) -> tuple[Arch, Any]:
    record = getattr(net, "vitnas_config", None)
    if not isinstance(record, dict) or record["arch"]["family"] != FAMILY.name:
        raise InputError("the official format holds static S3 models; extract one from a supernet")
    found = Arch.from_dict(record["arch"])
    return found, make_config(FAMILY, found, record["options"])


def _lower(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config under the constructor's names, which the official YAML has in capitals."""
    if not isinstance(config, Mapping):
        raise InputError(f"official S3 config: it must be a mapping, got {config!r}")
    found = {str(name).lower(): value for name, value in config.items()}
    if len(found) < len(config):
        raise InputError("official S3 config: an argument stands twice, in capitals and without")
    check_arguments("official S3", {name: found[name] for name in _DEFAULTS if name in found})
    return found


def _read_config(given: Mapping[str, Any]) -> dict[str, Any]:
    missing = [name for name in _REQUIRED if name not in given]
    if missing:
        raise InputError(f"official S3 config: {', '.join(missing)} missing")
    known = {*_DEFAULTS, *_REQUIRED, *_INERT, *_FIXED}
    for name, value in given.items():
        if name not in known:
            raise unknown("official S3 argument", name, known)
        if name in _FIXED and value != _FIXED[name]:
            raise InputError(f"official S3 config: {name}={value!r} is not supported")
        if name in _REQUIRED and not isinstance(value, list | tuple):
            raise InputError(f"official S3 config: {name} is {value!r}; it is a list, one a stage")
    return {**_DEFAULTS, **given}


def _arch(given: Mapping[str, Any]) -> Arch:
    depth = Arch(FAMILY.name, depth=given["depths"]).depth  # where whole floats are ints
    cut = {name: _cut(name, given[name], depth) for name in _LISTS}
    found = Arch(FAMILY.name, depth=depth, **cut, embed_dim=given["embed_dim"])
    check_genes(GENES, (), found)
    return found


def _cut(name: str, rows: Any, depth: tuple[Any, ...]) -> list[Any]:
    found = []
    for stage, row in enumerate(rows):
        blocks = depth[stage] if stage < len(depth) else None
        if isinstance(row, list | tuple) and isinstance(blocks, int) and len(row) > blocks:
            what = f"official S3 config: stage {stage + 1} lists {len(row)} {_LISTS[name]} for its"
            _log.warning("%s %d blocks; the rest has no effect", what, blocks)
            row = row[:blocks]
        found.append(row)
    return found


def _ours(name: str) -> str:
    """Return our name of an official parameter."""
    merge = _MERGE.match(name)
    if merge:
        return f"layers.{int(merge[1]) + 1}.downsample.{name[merge.end() :]}"
    return name.replace("head.", "head.fc.", 1) if name.startswith("head.") else name


def _theirs(name: str) -> str:
    merge = _MERGE.match(name)
    if merge:
        return f"layers.{int(merge[1]) - 1}.downsample.{name[merge.end() :]}"
    return name.replace("head.fc.", "head.", 1) if name.startswith("head.fc.") else name


def _official(model: nn.Module) -> dict[str, Tensor]:
    """Return the official state of a model: its parameters, and the buffers of its windows."""
    found = {_theirs(name): tensor for name, tensor in model.state_dict().items()}
    found |= {name: buffer for name, buffer in model.named_buffers() if _BUFFER.search(name)}
    return found


def _check_shapes(
    given: Mapping[str, Tensor], official: Mapping[str, Tensor], words: Words
) -> None:
    from vitnas.interop.checkpoint import misfits, refuse

    expected = {n: t for n, t in official.items() if n in given or not _BUFFER.search(n)}
    missing, extra, wrong = misfits(given, expected)
    own, lacking = (list(map(_ours, names)) for names in (expected, missing))
    told = advice(own, lacking, words)
    refuse(
        "S3",
        {"missing": folded(missing, expected), "unexpected": folded(extra, given), "wrong": wrong},
        told,
    )


def _check_buffers(given: Mapping[str, Tensor], official: Mapping[str, Tensor]) -> None:
    from vitnas.interop.checkpoint import refuse

    wrong = [
        f"{name} holds other values than its window has"
        for name, tensor in given.items()
        if _BUFFER.search(name) and not bool((tensor == official[name].to(tensor.device)).all())
    ]
    refuse("S3", {"wrong": wrong})
