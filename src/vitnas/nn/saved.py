"""Loading the folder of a saved model on torch and timm alone.

The text of this file follows that of a family's module in the `modeling.py` of a folder, so that
one file holds all; nothing here may import vitnas.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

LARGEST = 1 << 24  # bytes of a config; what larger JSON holds could fill the memory


def load_folder(folder: str, build: Callable[..., nn.Module]) -> nn.Module:
    """Build the model of a folder that vitnas saved and load its weights, in evaluation mode.

    Raises:
        OSError: the config or the weights are missing.
        ValueError: they are damaged or don't fit together, or the config is larger than 16 MiB.
    """
    told, weights = Path(folder) / "config.json", Path(folder) / "model.safetensors"
    config = _read_config(told)
    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    if config.get("weights", found) != found:
        raise ValueError(
            f"{weights} is not what was saved with config.json: it is damaged, or saving was "
            "interrupted; drop 'weights' from config.json if it was replaced on purpose"
        )
    try:
        state = load_file(weights)
    except SafetensorError as error:
        raise ValueError(f"{weights} is damaged: {error}") from error
    try:
        with torch.device("meta"):  # a config can ask for more memory than there is
            expected = build(**config["build"]).state_dict()
    except Exception as error:  # what a builder raises for values that nobody checked
        raise ValueError(f"{told} is damaged: {error!r}") from error
    for name in sorted(expected.keys() | state.keys()):
        have, want = (_described(tensors.get(name)) for tensors in (state, expected))
        if have != want:
            raise ValueError(f"{weights} does not fit config.json: {name} is {have}, not {want}")
    model = build(**config["build"])
    model.to(next(iter(state.values())).dtype)
    model.load_state_dict(state)
    return model.eval()


def _read_config(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        text = file.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise ValueError(f"can't read {path}: it has more than 16 MiB")
    try:
        config = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} is damaged: it holds no mapping")
    return config


def _described(tensor: Tensor | None) -> str:
    if tensor is None:
        return "missing"
    kind = "float" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")
    return f"{kind} {tuple(tensor.shape)}"
