"""S3 (AutoFormerV2, NeurIPS 2021): Swin with a window, heads and MLP ratio for every block.

Source: microsoft/Cream, folder AutoFormerV2. The q-k-v width of a block is num_heads · head_dim and
need not be the embed_dim, which the paper searches and the official code can't run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from vitnas.arch import Arch
from vitnas.axes import stage_axis
from vitnas.errors import InputError
from vitnas.models.base import Attention, Family, Kind, PatchConfig, Unit, check_genes
from vitnas.models.vit import BLOCK, head, hidden_dim

if TYPE_CHECKING:
    from torch import Tensor, nn

GENES = {
    "depth": "stage",
    "mlp_ratio": "block",
    "num_heads": "block",
    "window_size": "block",
    "embed_dim": "stage",
}
OPTIONAL = ("patch_size", "head_dim")
TABLE = "attn.relative_position_bias_table"


@dataclass(frozen=True)
class S3Config(PatchConfig):
    """Options of S3; the defaults are those of the published nets.

    `window_img_size` is the shorter side, in pixels, of the images that the windows were chosen
    for; on other images they grow and shrink in proportion (7 at 224 px is 12 at 384 px, as
    is usual for Swin). By default they are taken as they are.
    """

    patch_size: int = 4
    head_dim: int = 32
    qkv_bias: bool = True
    window_img_size: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head_dim < 1:
            raise InputError(f"head_dim is {self.head_dim}; it must be positive")
        base = self.window_img_size
        if base is not None and (type(base) is not int or base < 1):
            raise InputError(f"window_img_size is {base!r}; it is a whole number of pixels or none")

    def stage_grid(self, stage: int) -> tuple[int, int]:
        """Return the rows and columns of tokens of a stage, counted from 0.

        Raises:
            InputError: the grid before can't be halved.
        """
        rows, cols = (length >> stage for length in self.grid)
        if (rows << stage, cols << stage) != self.grid or not rows or not cols:
            height, width = self.img_size
            raise InputError(
                f"img_size {height}x{width} can't be halved for stage {stage + 1}: both sides must "
                f"be multiples of {self.patch_size * 2**stage}"
            )
        return rows, cols

    def window(self, stage: int, layer: int, size: int) -> tuple[int, int]:
        """Return window and shift of a block: odd layers shift by half, covered grids don't.

        Raises:
            InputError: the window neither divides the grid nor covers it.
        """
        rows, cols = self.stage_grid(stage)
        if self.window_img_size is not None:
            size = max(1, size * min(self.img_size) // self.window_img_size)
        side = min(rows, cols)
        window, shift = (side, 0) if side <= size else (size, size // 2 if layer % 2 else 0)
        if rows % window or cols % window:
            common = math.gcd(rows, cols)
            fitting = ", ".join(str(n) for n in range(1, common + 1) if common % n == 0)
            raise InputError(
                f"window_size {size} of stage {stage + 1} does not divide its {rows}x{cols} tokens;"
                f" windows that do: {fitting}"
            )
        return window, shift


def axis(stage: int) -> str:
    """Return the name of a stage's width."""
    return stage_axis("embed", stage)


@lru_cache(maxsize=4096)
def _blocks(config: S3Config) -> Callable[[int, int, int, int, float, int, float], Unit]:
    """Return the function of stage, layer, embed_dim, heads, ratio, window and drop_path."""

    @lru_cache(maxsize=65536)
    def kind(
        stage: int, embed: int, heads: int, hidden: int, window: int, shift: int, drop_path: float
    ) -> Kind:
        rows, cols = config.stage_grid(stage)
        sizes = {
            axis(stage): embed,
            "heads": heads,
            "head_dim": config.head_dim,
            "hidden": hidden,
            "qkv": 3,
            "row_distances": 2 * window - 1,
            "col_distances": 2 * window - 1,
        }
        settings = {"window": window, "shift": shift, "drop_path": drop_path}
        settings |= {"rows": rows, "cols": cols}
        return Kind(f"block{stage}", tuple(sizes.items()), tuple(settings.items()))

    @lru_cache(maxsize=65536)
    def block(
        stage: int, layer: int, embed: int, heads: int, ratio: float, size: int, drop_path: float
    ) -> Unit:
        hidden = hidden_dim(embed, ratio)
        if not hidden:
            raise InputError(f"mlp_ratio {ratio} of embed_dim {embed} leaves no hidden unit")
        made = kind(stage, embed, heads, hidden, *config.window(stage, layer, size), drop_path)
        return Unit(f"layers.{stage}.blocks.{layer}", made)

    return block


@lru_cache(maxsize=65536)
def _merge(config: S3Config, stage: int, before: int, embed: int) -> Unit:
    """Return the patch merging that leads into a stage."""
    rows, cols = config.stage_grid(stage)
    sizes = ((axis(stage - 1), before), (axis(stage), embed))
    settings = (("rows", rows), ("cols", cols))
    return Unit(f"layers.{stage}.downsample", Kind(f"merge{stage}", sizes, settings))


@lru_cache(maxsize=4096)
def _root(config: S3Config, first: int, last: int, stages: int) -> Unit:
    """Return patch embedding, final norm and head."""
    sizes = {
        axis(0): first,
        axis(stages - 1): last,
        "classes": config.num_classes,
        "chans": config.in_chans,
        "patch": config.patch_size,
        "patch_width": config.patch_size,
    }
    return Unit("", Kind(f"root{stages - 1}", tuple(sizes.items())))


@lru_cache(maxsize=1024)
def units(config: S3Config, arch: Arch) -> tuple[Unit, ...]:
    """Return the root, then blocks and patch mergings in the order in which they run.

    The drop-path ramp counts the blocks that the architecture has, over all stages.
    """
    check_genes(GENES, OPTIONAL, arch)
    genes: Mapping[str, Any] = arch
    depth, widths, block = genes["depth"], genes["embed_dim"], _blocks(config)
    layers, total, found = 0, sum(depth), []
    rows = zip(genes["num_heads"], genes["mlp_ratio"], genes["window_size"], strict=True)
    for stage, lists in enumerate(rows):
        embed = widths[stage]
        if stage:
            found.append(_merge(config, stage, widths[stage - 1], embed))
        for layer, own in enumerate(zip(*lists, strict=True)):
            drop_path = config.drop_path(layers + layer, total)
            found.append(block(stage, layer, embed, *own, drop_path))
        layers += depth[stage]
    return (_root(config, widths[0], widths[-1], len(widths)), *found)


def layouts(config: S3Config, role: str, legacy: bool) -> dict[str, str]:
    """Return the layout of every parameter of the root, a patch merging or a block.

    Merged tokens hold the channels of four neighbours one after the other, so a smaller width is
    cut inside of each. A smaller window's table is the centre of a larger one's.
    """
    what, stage = role.rstrip("0123456789"), int(role.lstrip("abcdefghijklmnopqrstuvwxyz"))
    embed = axis(stage)
    if what == "root":
        return _root_layouts(config, embed)
    if what == "merge":
        four = f"(4 {axis(stage - 1)})"
        return {"norm.weight": four, "norm.bias": four, "reduction.weight": f"{embed} {four}"}
    found = {name: layout.replace("embed", embed) for name, layout in BLOCK.items()}
    found[TABLE] = "(row_distances col_distances) heads"
    if config.qkv_bias:
        found["attn.qkv.bias"] = "(qkv heads head_dim)"
    return found


def _root_layouts(config: S3Config, last: str) -> dict[str, str]:
    first = axis(0)
    found = {"patch_embed.proj.weight": f"{first} chans patch patch_width"}
    found |= dict.fromkeys(("patch_embed.proj.bias", "patch_embed.norm.weight"), first)
    found |= {"patch_embed.norm.bias": first, "norm.weight": last, "norm.bias": last}
    if config.num_classes:
        found |= {"head.fc.weight": f"classes {last}", "head.fc.bias": "classes"}
    return found


def macs(config: S3Config, kind: Kind, attention: Attention) -> int:
    """Return the exact multiply-adds of a unit for one image; attention has one figure."""
    sizes, settings = kind.size, kind.setting
    if kind.role.startswith("root"):
        first, last = axis(0), axis(int(kind.role.removeprefix("root")))
        rows, cols = config.grid
        patch = config.in_chans * config.patch_size**2
        return sizes[first] * rows * cols * patch + sizes[last] * config.num_classes
    tokens = int(settings["rows"]) * int(settings["cols"])
    if kind.role.startswith("merge"):
        before, embed = sizes.values()
        return tokens * 4 * before * embed
    embed, width = next(iter(sizes.values())), sizes["heads"] * sizes["head_dim"]
    products = 2 * int(settings["window"]) ** 2 * width
    return tokens * (4 * embed * width + products + 2 * embed * sizes["hidden"])


def build_args(config: S3Config, arch: Arch) -> dict[str, Any]:
    """Return the JSON-able arguments of `vitnas.nn.swin.S3Transformer` for the static model."""
    found = units(config, arch)
    stages: list[list[dict[str, Any]]] = [[] for _ in arch.embed_dim]
    for unit in found:
        if unit.kind.role.startswith("block"):
            stages[int(unit.kind.role.removeprefix("block"))].append(_block_args(unit.kind))
    return {**_root_args(config), "embed_dim": list(arch.embed_dim), "blocks": stages}


def _root_args(config: S3Config) -> dict[str, Any]:
    return {
        "img_size": list(config.img_size),
        "patch_size": config.patch_size,
        "in_chans": config.in_chans,
        "num_classes": config.num_classes,
        "head_dim": config.head_dim,
        "qkv_bias": config.qkv_bias,
    }


def _block_args(kind: Kind) -> dict[str, Any]:
    return {
        "num_heads": kind.size["heads"],
        "hidden_dim": kind.size["hidden"],
        "window_size": int(kind.setting["window"]),
        "shift_size": int(kind.setting["shift"]),
        "drop_path": kind.setting["drop_path"],
    }


def build(config: S3Config, arch: Arch) -> nn.Module:
    """Build the static model: a timm `SwinTransformer` of timm's own blocks."""
    from vitnas.nn.swin import S3Transformer

    return S3Transformer(**build_args(config, arch))


def build_unit(config: S3Config, kind: Kind) -> nn.Module:
    """Build the static module of a root (a model without stages), a patch merging or a block."""
    from timm.models.swin_transformer import PatchMerging

    from vitnas.nn.swin import S3Transformer, block

    sizes = kind.size
    if kind.role.startswith("root"):
        widths = sizes[axis(0)], sizes[axis(int(kind.role.removeprefix("root")))]
        return S3Transformer(**_root_args(config), embed_dim=widths, blocks=())
    if kind.role.startswith("merge"):
        before, embed = sizes.values()
        merge: nn.Module = PatchMerging(before, embed)
        return merge
    grid = int(kind.setting["rows"]), int(kind.setting["cols"])
    args = {"head_dim": config.head_dim, "qkv_bias": config.qkv_bias, **_block_args(kind)}
    made: nn.Module = block(next(iter(sizes.values())), grid, **args)
    return made


def stem(root: Any, images: Tensor) -> Tensor:
    """Return the tokens (B, H, W, embed) of images (B, C, height, width)."""
    tokens: Tensor = root.patch_embed(images)
    return tokens


def resize(
    name: str, tensor: Tensor, shape: tuple[int, ...], old: S3Config, new: S3Config
) -> Tensor | None:
    """Return a table of relative position biases interpolated (bicubic) to another window."""
    if TABLE not in name.replace(":", "."):
        return None
    from timm.layers import resize_rel_pos_bias_table_simple

    window = (math.isqrt(shape[0]) + 1) // 2
    resized: Tensor = resize_rel_pos_bias_table_simple(tensor, (window, window), shape)
    return resized


def resized_options(config: S3Config, img_size: tuple[int, int]) -> dict[str, Any]:
    """Return the options for another image size, with windows that grow with the image."""
    base = config.window_img_size or min(config.img_size)
    return {**config.to_dict(), "img_size": img_size, "window_img_size": base}


def img_size(arch: Arch) -> int:
    """Return the side of an image on which no window covers the grid and all divide it."""
    genes: Mapping[str, Any] = arch
    windows = {window for stage in genes["window_size"] for window in stage}
    last = genes.get("patch_size", S3Config.patch_size) * 2 ** (len(genes["depth"]) - 1)
    return int(last * 2 * math.lcm(*windows))


FAMILY = Family(
    name="s3",
    genes=GENES,
    optional=OPTIONAL,
    config=S3Config,
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
    modeling="vitnas.nn.swin",
    sharing=(("row_distances", "centre"), ("col_distances", "centre")),
    img_size=img_size,
    widths=("embed_dim", "num_heads", "mlp_ratio"),
)
