"""The originals' own counters, to compare with published figures. They are not exact.

Each differs from the true count for reasons that its docstring gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from vitnas.arch import Arch
from vitnas.errors import InputError, unknown
from vitnas.models import family, family_of, make_config
from vitnas.models.base import patch_grid
from vitnas.models.vit import hidden_dim


def convention(
    name: str,
    arch: Arch,
    num_classes: int = 1000,
    img_size: int | tuple[int, int] = 224,
    **options: Any,
) -> float:
    """Return a cost as an original counts it; names are in `CONVENTIONS`.

    Raises:
        InputError: there is no such convention, or it does not cover the architecture.
    """
    if name not in CONVENTIONS:
        raise unknown("cost convention", name, CONVENTIONS)
    covered, count = CONVENTIONS[name]
    model = family_of(arch)
    if model.name != covered:
        raise InputError(f"convention {name} covers {covered} architectures, not {model.name}")
    options |= {"num_classes": num_classes, "img_size": img_size}
    return count(arch, make_config(model, arch, options))


def cream_complexity(arch: Arch, config: Any) -> float:
    """AutoFormer's `get_complexity`, with the number of patches as sequence length.

    It counts one token too many in the blocks, charges the head for every token, relative
    positions with about 28.5 per score instead of twice the q-k-v width, and adds norms and biases
    by halves. Source: official `supernet_transformer.py` and its modules.
    """
    if not config.abs_pos or config.max_relative_position != 14:
        raise InputError("convention cream is known for abs_pos and max_relative_position 14 only")
    patches = config.grid[0] * config.grid[1]
    embed, tokens = arch.embed_dim, patches + 2
    patch = config.in_chans * config.patch_size**2
    total = patch * patches * embed + embed + (patches + 1) * embed / 2
    total += (patches + 1) * config.num_classes * embed
    relative = 28.5 * tokens**2
    for attn, hidden in _layers(arch, config):
        total += 2 * tokens * embed + 3 * tokens * embed * attn + 2 * tokens**2 * attn
        total += tokens * attn * embed + 2 * tokens * embed * hidden
        if config.relative_position:
            total += relative + tokens * attn / 2
    return float(total)


def nni_flops(arch: Arch, config: Any, biases: bool = True) -> float:
    """NNI's `FlopsProfiler`, whose FLOPs are multiply-adds, with all its switches on or all off.

    On or off, it counts products with relative positions (without such tables too) and leaves out
    norms, tokens and the biases of attention. On, it adds the other biases. Source: NNI 3.0,
    `autoformer.py` and `profiler/pytorch/flops.py`.
    """
    patches, tokens, embed = config.grid[0] * config.grid[1], config.tokens, arch.embed_dim
    patch = config.in_chans * config.patch_size**2
    total = patches * embed * (patch + biases) + config.num_classes * (embed + biases)
    for attn, hidden in _layers(arch, config):
        total += 4 * tokens * attn * embed + 4 * tokens**2 * attn
        total += tokens * (2 * embed * hidden + biases * (embed + hidden))
    return float(total)


def nni_bare_flops(arch: Arch, config: Any) -> float:
    """NNI's `FlopsProfiler` with biases, norms and activations switched off; see `nni_flops`."""
    return nni_flops(arch, config, biases=False)


def nni_params(arch: Arch, config: Any) -> float:
    """NNI's `NumParamsProfiler`.

    It counts no tokens, positions, tables and norms, and takes the biases of q, k, v and of the
    projection after them to be as wide as the other side of these layers.
    """
    embed = arch.embed_dim
    total = embed * (config.in_chans * config.patch_size**2 + 1) + config.num_classes * (embed + 1)
    for attn, hidden in _layers(arch, config):
        total += 3 * embed * (attn + config.qkv_bias) + attn * (embed + 1)
        total += 2 * embed * hidden + hidden + embed
    return float(total)


def mmrazor_flops(arch: Arch, config: Any) -> float:
    """MMRazor's `ResourceEstimator`, whose FLOPs are multiply-adds (it shows them in millions).

    It counts no products of attention and no relative positions, of the biases only that of the
    patches, and one for each element of a norm. Source: MMRazor 1.0, `op_counters`.
    """
    patches, tokens, embed = config.grid[0] * config.grid[1], config.tokens, arch.embed_dim
    total = patches * embed * (config.in_chans * config.patch_size**2 + 1)
    total += config.num_classes * embed + config.final_norm * tokens * embed
    for attn, hidden in _layers(arch, config):
        total += tokens * (4 * attn * embed + 2 * embed * hidden + 2 * embed)
    return float(total)


def mmrazor_params(arch: Arch, config: Any) -> float:
    """MMRazor's `ResourceEstimator`: no class token, positions and tables of relative positions."""
    embed = arch.embed_dim
    total = embed * (config.in_chans * config.patch_size**2 + 1) + config.num_classes * (embed + 1)
    total += config.final_norm * 2 * embed
    for attn, hidden in _layers(arch, config):
        total += 3 * attn * (embed + config.qkv_bias) + embed * (attn + 1)
        total += 2 * embed * hidden + hidden + embed + 4 * embed
    return float(total)


def _layers(arch: Arch, config: Any) -> Iterator[tuple[int, int]]:
    """Yield q-k-v width and MLP width of every layer."""
    for heads, ratio in zip(arch.num_heads, arch.mlp_ratio, strict=True):
        attn = config.fixed_attn_dim or heads * config.head_dim
        yield attn, hidden_dim(arch.embed_dim, ratio)


def s3_flops(arch: Arch, config: Any) -> float:
    """S3's `flops`, which are multiply-adds.

    It adds one for each element of a norm, takes q, k and v to be as wide as the embed_dim and
    merging to double it, MLPs to have embed_dim · ratio units, whole or not, and the final norm to
    have more tokens than it has. Source: official `SSS.py`.
    """
    model, widths = family("s3"), arch.embed_dim
    patches = config.grid[0] * config.grid[1]
    total = patches * widths[0] * (config.in_chans * config.patch_size**2 + 1)
    total += widths[-1] * (patches // 2 ** len(widths) + config.num_classes)
    ratios = iter([ratio for stage in arch.mlp_ratio for ratio in stage])
    for kind in (unit.kind for unit in model.units(config, arch)[1:]):
        width, tokens = kind.sizes[0][1], int(kind.setting["rows"] * kind.setting["cols"])
        if kind.role.startswith("merge"):
            total += 4 * tokens * width + 8 * tokens * width**2
        else:
            attention = 4 * width + 2 * int(kind.setting["window"]) ** 2
            total += tokens * width * (2 + attention + 2 * width * next(ratios))
    return float(total)


def vitas_flops(arch: Arch, config: Any) -> float:
    """ViTAS's FLOPs, which are multiply-adds.

    Blocks have no class token there, and the head is charged for every patch. Source: the counter
    of the official code, as the published figures confirm it.
    """
    rows, cols = patch_grid(config.img_size, arch.patch_size)
    patches, embed = rows * cols, arch.embed_dim
    total = patches * embed * (config.in_chans * arch.patch_size**2 + config.num_classes)
    for attn, hidden in zip(arch.attn_dim, arch.mlp_dim, strict=True):
        total += patches * (4 * embed * attn + 2 * patches * attn + 2 * embed * hidden)
    return float(total)


CONVENTIONS: dict[str, tuple[str, Callable[[Arch, Any], float]]] = {
    "cream": ("autoformer", cream_complexity),
    "mmrazor": ("autoformer", mmrazor_flops),
    "mmrazor-params": ("autoformer", mmrazor_params),
    "nni": ("autoformer", nni_flops),
    "nni-bare": ("autoformer", nni_bare_flops),
    "nni-params": ("autoformer", nni_params),
    "s3": ("s3", s3_flops),
    "vitas": ("vitas", vitas_flops),
}
"""Name → the family that an original has, and its counter."""
