"""ViTAS's search spaces (arXiv 2106.13700), as configured in the official code, and two of ours.

Widths are tenths of the largest, rounded. Attention widths are those of each of q, k and v, a third
of what the official code lists. Blocks can be left out anywhere there. `vitas` leaves out the last
ones only, so that a network has one description; `vitas-a`, `vitas-b` and `vitas-e` leave out any,
as the gene `slot` says.
"""

from __future__ import annotations

from vitnas.space import Choice, Space

_TENTHS = range(1, 11)
_HEADS = (3, 6, 12, 16)


def _tenths(largest: int) -> tuple[int, ...]:
    return tuple(round(tenth / 10 * largest) for tenth in _TENTHS)


def _space(
    name: str,
    depth: tuple[int, ...],
    num_heads: tuple[int, ...],
    attn_dim: tuple[int, ...],
    mlp_dim: tuple[int, ...],
    embed_dim: tuple[int, ...],
    patch_size: tuple[int, ...],
    *,
    free: bool = False,
) -> Space:
    slots = Choice("slot", tuple(range(max(depth))), "block", increasing=True)
    choices = (
        Choice("depth", depth),
        *((slots,) if free else ()),
        Choice("num_heads", num_heads, "block"),
        Choice("attn_dim", attn_dim, "block"),
        Choice("mlp_dim", mlp_dim, "block"),
        Choice("embed_dim", embed_dim),
        Choice("patch_size", patch_size),
    )
    return Space("vitas", choices, name=name)


def _official(
    name: str,
    depth: tuple[int, ...],
    embed_dim: int = 384,
    hidden: int = 1440,
    patch_size: tuple[int, ...] = (14, 16, 32),
    *,
    free: bool = False,
) -> Space:
    attn = _tenths(hidden // 3)
    mlp, embed = _tenths(hidden), _tenths(embed_dim)
    return _space(name, depth, _HEADS, attn, mlp, embed, patch_size, free=free)


def vitas() -> Space:
    """Return the space of the official search, with up to 16 blocks; the last are left out."""
    return _official("vitas", tuple(range(1, 17)))


def vitas_a() -> Space:
    """Return the space of the official search, as it finds ViTAS-A: blocks in any of 16 slots."""
    return _official("vitas-a", tuple(range(1, 17)), free=True)


def vitas_b() -> Space:
    """Return the space of ViTAS-B, the same as that of A."""
    return _official("vitas-b", tuple(range(1, 17)), free=True)


def vitas_c() -> Space:
    """Return the space of ViTAS-C: 12 blocks, patches of 16 pixels. C itself has equal blocks."""
    return _official("vitas-c", (12,), patch_size=(16,))


def vitas_e() -> Space:
    """Return the space of ViTAS-E, the same as that of A."""
    return _official("vitas-e", tuple(range(1, 17)), free=True)


def vitas_f() -> Space:
    """Return the space of ViTAS-F: 13 blocks, twice as wide."""
    return _official("vitas-f", (13,), embed_dim=768, hidden=2880)


def nano() -> Space:
    """Return a small space for images of 32 px and two CPU cores; not from the paper."""
    return _space(
        "vitas-nano",
        (3, 4, 5, 6),
        (2, 3, 4, 6),
        (24, 48, 72, 96),
        (96, 192, 288, 384),
        (48, 72, 96),
        (4, 8),
    )


def digits() -> Space:
    """Return a space for images of 8 px; not from the paper."""
    return _space(
        "vitas-digits",
        (2, 3, 4),
        (1, 2, 4),
        (16, 32, 48),
        (24, 48, 96),
        (24, 32, 48),
        (1, 2),
    )


SPACES = {
    "vitas": vitas,
    "vitas-a": vitas_a,
    "vitas-b": vitas_b,
    "vitas-c": vitas_c,
    "vitas-e": vitas_e,
    "vitas-f": vitas_f,
    "vitas-nano": nano,
    "vitas-digits": digits,
}
