"""A hub folder: what `timm.create_model("local-dir:FOLDER", pretrained=True)` loads.

It is a model folder of this package as well. Where timm's own `VisionTransformer` can't be told the
architecture, timm has to know the class first: `modeling.py` in the folder, once imported,
registers it. That file needs torch and timm alone.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from torch import nn

from vitnas import files
from vitnas.errors import InputError
from vitnas.export import timm_entry
from vitnas.export.shipment import Shipment
from vitnas.folder import (
    CONFIG,
    FINGERPRINT,
    MODELING,
    WEIGHTS,
    code_of,
    modeling,
    update_config,
)
from vitnas.models import family
from vitnas.models.vit import mlp_ratio

STOCK = "vit_base_patch16_224"
"""timm's entry point whose arguments can say every size of a plain ViT; 16 and 224 among them."""


def fill(shipped: Shipment, folder: Path) -> dict[str, Any]:
    """Write weights, config and `modeling.py`; return what the model card tells of them.

    Raises:
        InputError: timm's model gives other logits, which would be a fault of this package.
    """
    build = shipped.record["build"]
    stock = stock_args(build)
    name = STOCK if stock else f"vitnas_{shipped.record['family']}"
    args = stock or {**build, "blocks": _without_drop_path(build["blocks"])}
    model = _timm_model(shipped, name, args)
    try:
        timm.models.save_for_hf(
            model,
            str(folder),
            model_config={**shipped.record, "label_names": list(shipped.classes)},
            model_args=args,
            safe_serialization=True,
        )
    except SafetensorError as error:  # its only error here is the disk's, such as no space left
        raise OSError(str(error)) from error
    (folder / MODELING).write_text(_timm_modeling(shipped.record["family"]))
    update_config(folder, **{FINGERPRINT: files.fingerprint(folder / WEIGHTS)})
    (folder / WEIGHTS).chmod((folder / CONFIG).stat().st_mode)  # safetensors lets nobody else read
    return {"architecture": name, "stock": stock is not None}


def stock_args(build: dict[str, Any]) -> dict[str, Any] | None:
    """Return arguments with which timm's own ViT is the model, None where they can't say it.

    That ViT repeats one block, whose heads divide the width of the tokens, three times or more:
    the features of the last three are what timm takes by default.
    """
    blocks = build["blocks"]
    sizes = {(one.get("num_heads"), one.get("hidden_dim")) for one in blocks if "hidden_dim" in one}
    same = len(sizes) == 1 and all(
        set(one) <= {"num_heads", "hidden_dim", "drop_path"} for one in blocks
    )
    embed = build["embed_dim"]
    plain = (
        same
        and len(blocks) >= 3
        and "head_dim" in build
        and build["norm_eps"] == 1e-6
        and not build["post_norm"]
        and not build.get("relative_position")
        and not build.get("attn_dim")
    )
    if not plain:
        return None
    ((heads, hidden),) = sizes
    if heads * build["head_dim"] != embed:
        return None
    same_names = (
        *("img_size", "patch_size", "in_chans", "num_classes", "embed_dim", "class_token"),
        *("no_embed_class", "reg_tokens", "pre_norm", "fc_norm", "final_norm"),
        *("qkv_bias", "qk_norm", "init_values"),
    )
    return {
        **{name: build[name] for name in same_names if build[name] is not None},
        "depth": len(blocks),
        "num_heads": heads,
        "mlp_ratio": mlp_ratio(embed, hidden),
        "global_pool": build["pool"],
        "pos_embed": "learn" if build["abs_pos"] else "none",
    }


def _timm_modeling(name: str) -> str:
    """Return the text of `modeling.py` for a family: that of a model folder, and timm's entry."""
    return (
        f"{modeling(name)}\n\n"
        "# What follows makes it a model of timm: `timm.create_model` once this is imported.\n"
        f"{code_of(timm_entry)}\n\n"
        f'register_entry(timm_entry("vitnas_{name}", build))\n'
    )


def builder(name: str) -> Callable[..., nn.Module]:
    """Return the function that builds a family's static model from its `build` arguments."""
    found: Callable[..., nn.Module] = import_module(family(name).modeling).build
    return found


def _timm_model(shipped: Shipment, name: str, args: dict[str, Any]) -> nn.Module:
    """Return the model as timm builds it, with its weights, checked against the one shipped."""
    create = (
        timm.models.model_entrypoint(STOCK)
        if name == STOCK
        else timm_entry.timm_entry(name, builder(shipped.record["family"]))
    )
    with torch.random.fork_rng(devices=[]):
        made: nn.Module = create(pretrained_cfg=pretrained_cfg(shipped, name), **args)
    images = shipped.images(2)
    made.to(images.dtype)
    made.load_state_dict(shipped.model.state_dict())
    with torch.inference_mode():
        if not torch.equal(made.eval()(images), shipped.model(images)):
            raise InputError(f"the logits of timm's {name} differ from the model's; not exported")
    return made


def pretrained_cfg(shipped: Shipment, name: str) -> dict[str, Any]:
    """Return timm's description of weights and input."""
    seen = shipped.input
    return {
        "architecture": name,
        "tag": "vitnas",
        "input_size": (seen.channels, *seen.img_size),
        "fixed_input_size": True,
        "interpolation": seen.interpolation,
        "crop_pct": seen.crop_pct,
        "crop_mode": "center",
        "mean": seen.mean,
        "std": seen.std,
        "num_classes": shipped.record["options"]["num_classes"],
        "pool_size": None,
        "first_conv": "patch_embed.proj",
        "classifier": "head.fc" if hasattr(shipped.model.head, "fc") else "head",
        "custom_load": False,
    }


def _without_drop_path(blocks: Any) -> Any:
    """Return the blocks without their drop-path rates: timm sets those anew for every training."""
    if isinstance(blocks, list):
        return [_without_drop_path(one) for one in blocks]
    return {name: value for name, value in blocks.items() if name != "drop_path"}
