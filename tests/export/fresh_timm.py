"""Uses hub folders as somebody who has torch and timm alone: a script, for a fresh environment.

Its argument is a folder with images.npy and a folder for each net: logits.npy, the model folder
`model` and the hub folder `timm`.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import timm
import timm.data
import timm.optim
import torch
from torch import Tensor


def modeling(folder: Path) -> Any:
    """Import the modeling.py of a folder as the docs say: it registers what it builds."""
    spec = spec_from_file_location("modeling", folder / "modeling.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules["modeling"] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def close(found: Tensor, wanted: Tensor) -> None:
    """Check logits."""
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def use_features(create: Callable[..., Any], images: Tensor, wanted: Tensor) -> None:
    """Check what timm offers beside logits."""
    model = create()
    tokens = model.forward_features(images)
    close(model.forward_head(tokens), wanted)
    assert model.forward_head(tokens, pre_logits=True).shape == (len(images), model.num_features)
    last, middle = model.forward_intermediates(images)
    assert torch.equal(last, tokens)
    net = create(features_only=True)
    maps = net(images)
    assert [one.shape[1] for one in maps] == net.feature_info.channels()
    assert [images.shape[2] // one.shape[2] for one in maps] == net.feature_info.reduction()
    assert torch.equal(maps[-1], middle[-1])
    (first,) = create(features_only=True, out_indices=(0,))(images)
    assert torch.equal(first, middle[0])
    if hasattr(model, "get_intermediate_layers"):  # timm's Swin has no such method
        (layer,) = model.get_intermediate_layers(images, n=1, reshape=True)
        assert torch.equal(layer, middle[-1])


def use_other_heads(create: Callable[..., Any], images: Tensor) -> None:
    """Check nets with another classifier, input or size."""
    count = len(images)
    model = create()
    for classes in (3, 0):
        width = classes or model.num_features
        model.reset_classifier(classes)
        assert model(images).shape == create(num_classes=classes)(images).shape == (count, width)
    assert create(in_chans=3)(images.expand(-1, 3, -1, -1)).shape == (count, 10)
    assert create(img_size=16)(torch.zeros(1, 1, 16, 16)).shape == (1, 10)


def use_files(folder: Path, create: Callable[..., Any], images: Tensor, wanted: Tensor) -> None:
    """Check nets that timm saves and loads."""
    model, kept = create(), folder.with_name("kept")
    close(copy.deepcopy(model)(images), wanted)
    kept.mkdir()
    torch.save(model.state_dict(), kept / "weights.pth")
    fresh = create(pretrained=False)
    assert not torch.equal(fresh(images), model(images))
    fresh.load_state_dict(torch.load(kept / "weights.pth", weights_only=True))
    close(fresh(images), wanted)
    close(create(pretrained=False, checkpoint_path=str(kept / "weights.pth"))(images), wanted)
    args = json.loads((folder / "config.json").read_text())["model_args"]
    timm.models.save_for_hf(model, str(kept), model_args=args, safe_serialization=True)
    again = timm.create_model(f"local-dir:{kept}", pretrained=True).eval()
    close(again(images), wanted)


def train(create: Callable[..., Any], images: Tensor) -> None:
    """Check one step with what timm's own script takes."""
    model = create(drop_path_rate=0.1, drop_rate=0.1).train()
    model.set_grad_checkpointing(True)
    optimizer = timm.optim.create_optimizer_v2(
        model, opt="adamw", lr=1e-3, weight_decay=0.05, layer_decay=0.75
    )
    model(images).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    before = copy.deepcopy(model.state_dict())
    optimizer.step()
    assert any(not torch.equal(before[name], now) for name, now in model.state_dict().items())


def main() -> None:
    """Use every net."""
    assert find_spec("vitnas") is None
    root = Path(sys.argv[1])
    images = torch.from_numpy(np.load(root / "images.npy"))
    for path in sorted(path.parent for path in root.glob("*/timm")):
        folder, wanted = path / "timm", torch.from_numpy(np.load(path / "logits.npy"))

        def create(folder: Path = folder, pretrained: bool = True, **kwargs: Any) -> Any:
            return timm.create_model(f"local-dir:{folder}", pretrained=pretrained, **kwargs).eval()

        with torch.no_grad():
            if path.name != "stock":  # of which timm has the class
                close(modeling(folder).load(str(folder))(images), wanted)
            close(create()(images), wanted)
            close(modeling(path / "model").load(str(path / "model"))(images), wanted)
            use_features(create, images, wanted)
            use_other_heads(create, images)
            use_files(folder, create, images, wanted)
        train(create, images)
        config = timm.data.resolve_model_data_config(create())
        assert config["input_size"] == images.shape[1:]
        sys.stdout.write(f"{path.name}\n")


if __name__ == "__main__":
    main()
