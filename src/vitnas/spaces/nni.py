"""NNI's presets of AutoFormer; in 2.x they were those of its pretrained weights.

Source: microsoft/nni, `AutoFormer.preset`. They are wider than the official code's in two places:
tiny has the MLP ratio 3.0, base has 8 heads.
"""

from __future__ import annotations

from dataclasses import replace

from vitnas.space import Space
from vitnas.spaces import autoformer


def tiny() -> Space:
    """Return preset tiny, which contains the published AutoFormer-T."""
    return replace(autoformer.tiny_wide(), name="nni-autoformer-tiny")


def small() -> Space:
    """Return preset small."""
    return replace(autoformer.small(), name="nni-autoformer-small")


def base() -> Space:
    """Return preset base, with 8 to 10 heads."""
    return replace(autoformer.base_paper(), name="nni-autoformer-base")


SPACES = {
    "nni-autoformer-tiny": tiny,
    "nni-autoformer-small": small,
    "nni-autoformer-base": base,
}
