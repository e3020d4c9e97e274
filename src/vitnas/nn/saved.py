"""Loading the folder of a saved model on torch and timm alone.

The text of this file follows that of a family's module in the `modeling.py` of a folder, so that
one file holds all; nothing here may import vitnas.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file
from torch import nn

LARGEST = 1 << 24  # bytes of a config; what larger JSON holds could fill the memory


def load_folder(folder: str, build: Callable[..., nn.Module]) -> nn.Module:
    """Build the model of a folder that vitnas saved and load its weights, in evaluation mode.

    Raises:
        ValueError: the config was saved with other weights, or is no JSON, or larger than 16 MiB.
    """
    told = Path(folder) / "config.json"
    with told.open("rb") as file:
        text = file.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise ValueError(f"can't read {told}: it has more than 16 MiB")
    config = json.loads(text)
    weights = Path(folder) / "model.safetensors"
    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    if config.get("weights", found) != found:
        raise ValueError(
            f"{weights} is not what was saved with config.json: it is damaged, or saving was "
            "interrupted; drop 'weights' from config.json if it was replaced on purpose"
        )
    model = build(**config["build"])
    state = load_file(weights)
    model.to(next(iter(state.values())).dtype)
    model.load_state_dict(state)
    return model.eval()
