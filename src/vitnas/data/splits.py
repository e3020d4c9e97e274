"""The split rule: held out per class, seeded, the same on every machine."""

from __future__ import annotations

import logging

import numpy as np

from vitnas.data import rng
from vitnas.data.images import Integers
from vitnas.errors import InputError

_log = logging.getLogger(__name__)


def hold_out(labels: Integers, fraction: float, *key: int | str) -> tuple[Integers, Integers]:
    """Split positions into kept and held out: about `fraction` of each class, at least one image.

    At least one image of each class stays. Both parts are sorted. Every class that occurs must
    have two images (`check_counts`).
    """
    held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels).tolist():
        members = np.flatnonzero(labels == label)
        assert len(members) >= 2, f"class {label} has one image"
        count = min(max(int(fraction * len(members) + 0.5), 1), len(members) - 1)
        held[members[rng.permutation(len(members), *key, label)[:count]]] = True
    return np.flatnonzero(~held).astype(np.int64), np.flatnonzero(held).astype(np.int64)


def check_counts(name: str, labels: Integers, classes: tuple[str, ...], parts: list[str]) -> None:
    """Refuse classes with fewer images than there are parts to give one to.

    Raises:
        InputError: naming the classes (five at most) with their number of images.
    """
    counts = np.bincount(labels, minlength=len(classes))
    if absent := [classes[label] for label in np.flatnonzero(counts == 0)]:
        _log.warning("%s has no training image of %s", name, some(absent))
    few = np.flatnonzero((counts > 0) & (counts < len(parts))).tolist()
    if few:
        listed = some([f"{classes[label]!r} ({counts[label]})" for label in few])
        raise InputError(
            f"{name} has too few images to hold any out in class {listed}: "
            f"{len(parts)} are needed, one each for {', '.join(parts)}; "
            "add images or drop the class"
        )


def some(names: list[str]) -> str:
    """The names as text, five at most."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
