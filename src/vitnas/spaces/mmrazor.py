"""MMRazor's only space of AutoFormer: `arch_setting` of its configuration."""

from __future__ import annotations

from dataclasses import replace

from vitnas.space import Space
from vitnas.spaces import autoformer


def base() -> Space:
    """Return the space of `autoformer_supernet_32xb256_in1k.py`, with 8 to 10 heads."""
    return replace(autoformer.base_paper(), name="mmrazor-autoformer-base")


SPACES = {"mmrazor-autoformer-base": base}
