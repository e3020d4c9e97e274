"""The originals' own counters, to compare with published figures. They are not exact.

Each differs from the true count for reasons that its docstring gives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vitnas.arch import Arch
from vitnas.errors import InputError, unknown
from vitnas.models import family, make_config
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
    if arch.family != covered:
        raise InputError(f"convention {name} covers {covered} architectures, not {arch.family}")
    options |= {"num_classes": num_classes, "img_size": img_size}
    return count(arch, make_config(family(arch.family), arch, options))


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
    for heads, ratio in zip(arch.num_heads, arch.mlp_ratio, strict=True):
        attn, hidden = config.fixed_attn_dim or heads * config.head_dim, hidden_dim(embed, ratio)
        total += 2 * tokens * embed + 3 * tokens * embed * attn + 2 * tokens**2 * attn
        total += tokens * attn * embed + 2 * tokens * embed * hidden
        if config.relative_position:
            total += relative + tokens * attn / 2
    return float(total)


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


CONVENTIONS: dict[str, tuple[str, Callable[[Arch, Any], float]]] = {
    "cream": ("autoformer", cream_complexity),
    "s3": ("s3", s3_flops),
}
"""Name → the family that an original has, and its counter."""
