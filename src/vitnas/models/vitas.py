"""ViTAS (arXiv 2106.13700): a ViT with heads, attention width and MLP width for every block.

Source: xiusu/ViTAS. The patch size is searched; each has a stem, class token and position table of
its own. What the official code does by accident is off by default; see the options.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.models.base import Attention, Config, Family, Kind, Unit, check_genes, patch_grid
from vitnas.models.vit import BLOCK, head, stem

if TYPE_CHECKING:
    from torch import Tensor, nn

GENES = {
    "depth": "net",
    "num_heads": "block",
    "attn_dim": "block",
    "mlp_dim": "block",
    "embed_dim": "net",
    "patch_size": "net",
}
SLOT = "slot"


@dataclass(frozen=True)
class ViTASConfig(Config):
    """Options of ViTAS.

    - `qkv` says what blocks have for each number of heads: 2 q and k (the paper's design, and the
      default of supernets), 1 v, 0 nothing: then q, k and v are one projection, as in timm (the
      default of static models).
    - `attn_scale`: `head` scales scores by (attn_dim / num_heads) ** -0.5. `embed`, which the
      official code does in searched nets, by (embed_dim // num_heads) ** -0.5; a number, which it
      does in supernets, by that.
    - `joint_qk`: a smaller attention takes the first rows of q and k as one list, so that rows
      change between q and k, as in the official supernet.
    - `last_position`: all tokens get the last position, as in the official supernet.
    """

    qkv: int = 0
    attn_scale: str | float = "head"
    joint_qk: bool = False
    last_position: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.qkv not in (0, 1, 2):
            raise InputError(f"qkv is {self.qkv}; it is 0, 1 or 2")
        number = isinstance(self.attn_scale, int | float) and not isinstance(self.attn_scale, bool)
        if self.attn_scale not in ("head", "embed") and not (
            number and 0 < float(self.attn_scale) < math.inf
        ):
            raise InputError(
                f"attn_scale is {self.attn_scale!r}; it is 'head', 'embed' or a positive number"
            )

    def scale(self, embed: int, heads: int) -> float | None:
        """Return the scale of the scores, None for that of the width of a head.

        Raises:
            InputError: the released rule has no scale for these sizes.
        """
        if self.attn_scale == "head":
            return None
        if self.attn_scale != "embed":
            return float(self.attn_scale)
        if heads > embed:
            raise InputError(f"attn_scale 'embed' has no scale for {heads} heads of width {embed}")
        return float((embed // heads) ** -0.5)


def slots(arch: Arch) -> tuple[int, ...]:
    """Return the slot of each block: the block of the supernet that it is, counted from 0.

    Raises:
        InputError: the gene isn't one strictly increasing whole number a block.
    """
    genes: Mapping[str, Any] = arch
    given: tuple[int, ...] = genes.get(SLOT, tuple(range(genes["depth"])))
    whole = isinstance(given, tuple) and all(type(slot) is int for slot in given)
    if (
        not whole
        or len(given) != genes["depth"]
        or given[0] < 0
        or any(a >= b for a, b in itertools.pairwise(given))
    ):
        raise InputError(
            f"vitas architecture: slot is {given!r}, it must be {genes['depth']} whole numbers "
            "from 0, each larger than the one before"
        )
    return given


@lru_cache(maxsize=4096)
def _blocks(config: ViTASConfig) -> Callable[..., Unit]:
    """Return the function of layer, slot, number of slots and sizes that makes a block."""

    @lru_cache(maxsize=65536)
    def kind(drop_path: float, tokens: int, embed: int, heads: int, attn: int, hidden: int) -> Kind:
        if attn % heads:
            raise InputError(f"{heads} heads don't divide attn_dim {attn}")
        sizes = {
            "embed": embed,
            "heads": heads,
            "attn": attn,
            "attn_flat": 3 * attn,
            "qk_flat": 2 * attn,
            "hidden": hidden,
        }
        settings = {"drop_path": drop_path, "tokens": tokens}
        scale = config.scale(embed, heads)
        if scale is not None:
            settings["attn_scale"] = scale
        return Kind("block", tuple(sizes.items()), tuple(settings.items()))

    @lru_cache(maxsize=65536)
    def block(layer: int, slot: int, last: int, *sizes: int) -> Unit:
        drop_path = config.drop_path(slot, last + 1)
        return Unit(f"blocks.{slot}", kind(drop_path, *sizes), f"blocks.{layer}")

    return block


@lru_cache(maxsize=4096)
def _root(config: ViTASConfig, embed: int, patch: int) -> Unit:
    """Return patch embedding, tokens, final norm and head."""
    rows, cols = patch_grid(config.img_size, patch)
    sizes = {
        "embed": embed,
        "classes": config.num_classes,
        "chans": config.in_chans,
        "patch": patch,
        "patch_width": patch,
        "positions": rows * cols + 1,
    }
    return Unit("", Kind("root", tuple(sizes.items())))


@lru_cache(maxsize=1024)
def units(config: ViTASConfig, arch: Arch) -> tuple[Unit, ...]:
    """Return the root and the blocks of an architecture.

    Raises:
        InputError: a gene is missing or malformed, patches don't divide the image, or heads the
            attention's width.
    """
    check_genes(GENES, (SLOT,), arch)
    genes: Mapping[str, Any] = arch
    places, embed, block = slots(arch), genes["embed_dim"], _blocks(config)
    root = _root(config, embed, genes["patch_size"])
    tokens = root.kind.size["positions"]
    layers = zip(places, genes["num_heads"], genes["attn_dim"], genes["mlp_dim"], strict=True)
    found = [
        block(layer, slot, places[-1], tokens, embed, *own)
        for layer, (slot, *own) in enumerate(layers)
    ]
    return (root, *found)


def layouts(config: ViTASConfig, role: str, legacy: bool) -> dict[str, str]:
    """Return the layout of every parameter of the root or of a block."""
    if role == "block":
        return _block_layouts(config)
    found = {
        "patch_embed.proj.weight": "embed chans patch patch_width",
        "patch_embed.proj.bias": "embed | patch",
        "cls_token": "1 1 embed | patch",
        "pos_embed": "1 positions embed | patch",
        "norm.weight": "embed",
        "norm.bias": "embed",
    }
    if config.num_classes:
        found |= {"head.weight": "classes embed", "head.bias": "classes"}
    return found


def _block_layouts(config: ViTASConfig) -> dict[str, str]:
    """Return the layouts of a block.

    Heads are consecutive channels of what is used, so that a channel of q and k stays with that of
    v; its head depends on the width, as in the original.
    """
    joint = config.joint_qk
    rows = {
        0: {"qkv": "attn_flat" if joint else "(3 attn)"},
        1: {"qkv.qk": "qk_flat" if joint else "(2 attn)", "qkv.v": "attn | heads"},
        2: {"qkv.qk": ("qk_flat" if joint else "(2 attn)") + " | heads", "qkv.v": "attn"},
    }
    found = {name: layout for name, layout in BLOCK.items() if name != "attn.qkv.weight"}
    found["attn.proj.weight"] = "embed attn"
    for name, bias in rows[config.qkv].items():
        axes, bar, beside = bias.partition(" | ")
        found[f"attn.{name}.weight"] = f"{axes} embed{bar}{beside}"
        found[f"attn.{name}.bias"] = bias
    return found


def macs(config: ViTASConfig, kind: Kind, attention: Attention) -> int:
    """Return the exact multiply-adds of a unit for one image; attention has one figure."""
    size = kind.size
    embed = size["embed"]
    if kind.role == "root":
        pixels = config.in_chans * size["patch"] ** 2
        return embed * ((size["positions"] - 1) * pixels + config.num_classes)
    tokens, attn = int(kind.setting["tokens"]), size["attn"]
    return tokens * (4 * embed * attn + 2 * tokens * attn + 2 * embed * size["hidden"])


def build_args(config: ViTASConfig, arch: Arch) -> dict[str, Any]:
    """Return the JSON-able arguments of `vitnas.nn.vitas.ViTAS` that build the static model."""
    root, *blocks = units(config, arch)
    return {
        **_root_args(config, root.kind),
        "blocks": [_block_args(unit.kind) for unit in blocks],
        "split_qkv": config.qkv > 0,
    }


def _root_args(config: ViTASConfig, kind: Kind) -> dict[str, Any]:
    return {
        "img_size": list(config.img_size),
        "patch_size": kind.size["patch"],
        "in_chans": config.in_chans,
        "num_classes": config.num_classes,
        "embed_dim": kind.size["embed"],
        "last_position": config.last_position,
    }


def _block_args(kind: Kind) -> dict[str, Any]:
    names = {"num_heads": "heads", "attn_dim": "attn", "mlp_dim": "hidden"}
    settings = {name: value for name, value in kind.settings if name != "tokens"}
    return {**{name: kind.size[axis] for name, axis in names.items()}, **settings}


def build(config: ViTASConfig, arch: Arch) -> nn.Module:
    """Build the static model: a timm `VisionTransformer` of timm's own blocks."""
    from vitnas.nn.vitas import ViTAS

    return ViTAS(**build_args(config, arch))


def build_unit(config: ViTASConfig, kind: Kind) -> nn.Module:
    """Build the static module of a root (a model without blocks) or of a block."""
    from vitnas.nn.vitas import ViTAS, block

    made: nn.Module
    if kind.role == "root":
        made = ViTAS(**_root_args(config, kind), blocks=())
    else:
        made = block(kind.size["embed"], **_block_args(kind), split_qkv=config.qkv > 0)
    return made


def resize(
    name: str, tensor: Tensor, shape: tuple[int, ...], old: ViTASConfig, new: ViTASConfig
) -> Tensor | None:
    """Return a position table interpolated to another grid, None for a head of other classes."""
    if "pos_embed" not in name:
        return None
    from timm.layers import resample_abs_pos_embed

    height, width = old.img_size
    patch = math.isqrt(height * width // (tensor.shape[1] - 1))
    grids = [list(patch_grid(config.img_size, patch)) for config in (new, old)]
    resized: Tensor = resample_abs_pos_embed(tensor, *grids, num_prefix_tokens=1)
    return resized


def resized_options(config: ViTASConfig, img_size: tuple[int, int]) -> dict[str, Any]:
    """Return the options of the same model for another image size."""
    return {**config.to_dict(), "img_size": img_size}


def img_size(arch: Arch) -> int:
    """Return the side of an image of one patch."""
    genes: Mapping[str, Any] = arch
    return int(genes["patch_size"])


FAMILY = Family(
    name="vitas",
    genes=GENES,
    optional=(),
    config=ViTASConfig,
    units=units,
    layouts=layouts,
    build=build,
    build_unit=build_unit,
    build_args=build_args,
    stem=stem,
    head=head,
    macs=macs,
    resize=resize,
    resized_options=resized_options,
    modeling="vitnas.nn.vitas",
    sharing=(("patch", "independent"), ("heads", "independent")),
    supernet=(("qkv", 2),),
    increasing=(SLOT,),
    widths=("attn_dim", "mlp_dim", "embed_dim"),
    img_size=img_size,
)
