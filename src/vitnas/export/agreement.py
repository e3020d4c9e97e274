"""Whether what was exported gives the model's logits: on random images, in batches of any size."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from vitnas.errors import InputError
from vitnas.export.shipment import Shipment

TOLERANCE = 1e-4


def check_agreement(
    shipped: Shipment, run: Callable[[Any], Any], what: str, batches: Iterable[int] = (1, 2, 5)
) -> float:
    """Return the largest difference of a logit between the model and `run`, over some batches.

    Raises:
        InputError: it is above 1e-4, or no number.
    """
    worst = 0.0
    with torch.inference_mode():
        for count in batches:
            images = shipped.images(count)
            found = torch.as_tensor(run(images))
            difference = (found - shipped.model(images)).abs().max().item()
            if not difference <= TOLERANCE:  # also if it is no number
                raise InputError(
                    f"{what} gives logits that differ from the model's by {difference:.2g}, more "
                    f"than {TOLERANCE:g}; nothing was written"
                )
            worst = max(worst, difference)
    return worst
