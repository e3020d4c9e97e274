"""What makes a static model one of timm's: an entry point for `timm.create_model`.

Needs torch and timm alone. In a hub folder its text follows that of the model's own module, so that
one file holds all; nothing here may import vitnas.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from timm.models import build_model_with_cfg, register_model
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn


def timm_entry(name: str, build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """Return an entry point as timm's own: the builder of a model, its weights, its features.

    It takes the arguments of `build`, and of timm's: pretrained, pretrained_cfg, num_classes,
    in_chans, img_size, global_pool, drop_rate, drop_path_rate (a ramp over the layers, as in timm),
    features_only, out_indices. For another image size the positions of a ViT are interpolated;
    tables of relative positions stay as they are.
    """

    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        made: nn.Module = build_model_with_cfg(
            partial(_timm_model, build),
            name,
            pretrained,
            pretrained_filter_fn=_resampled,
            feature_cfg={"out_indices": _out_indices(kwargs["blocks"]), "feature_cls": "getter"},
            **kwargs,
        )
        return made

    create.__name__ = create.__qualname__ = name
    return create


def register_entry(entry: Callable[..., nn.Module]) -> None:
    """Let `timm.create_model` know an entry point; one of the same name before is replaced.

    A module that was loaded without being imported, so that Python has no name for it, is not
    registered: timm looks modules up by their names.
    """
    if entry.__module__ in sys.modules:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            register_model(entry)


def _timm_model(
    build: Callable[..., nn.Module],
    *,
    blocks: Sequence[Any],
    img_size: int | Sequence[int],
    drop_path_rate: float = 0.0,
    drop_rate: float = 0.0,
    global_pool: str | None = None,
    **kwargs: Any,
) -> nn.Module:
    if isinstance(img_size, int):
        img_size = img_size, img_size
    model: Any = build(blocks=_ramped(blocks, drop_path_rate), img_size=img_size, **kwargs)
    if global_pool is not None and global_pool != model.global_pool:
        model.reset_classifier(model.num_classes, global_pool)
    dropout = model.head_drop if isinstance(model, VisionTransformer) else model.head.drop
    dropout.p = drop_rate
    made: nn.Module = model
    return made


def _staged(blocks: Sequence[Any]) -> bool:
    """Tell whether blocks are listed by stages."""
    return bool(blocks) and not isinstance(blocks[0], Mapping)


def _ramped(blocks: Sequence[Any], rate: float) -> list[Any]:
    """Return the blocks with a drop-path rate that rises linearly from 0 to this one."""
    stages = blocks if _staged(blocks) else [blocks]
    last, found, layer = max(sum(map(len, stages)) - 1, 1), [], 0
    for stage in stages:
        rates = [rate * (layer + i) / last for i in range(len(stage))]
        layer += len(stage)
        found.append([{**one, "drop_path": p} for one, p in zip(stage, rates, strict=True)])
    return found if _staged(blocks) else found[0]


def _out_indices(blocks: Sequence[Any]) -> int | tuple[int, ...]:
    """Return whose features are taken unless said otherwise: all stages, or the last 3 blocks."""
    return tuple(range(len(blocks))) if _staged(blocks) else min(3, len(blocks))


def _resampled(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    if not isinstance(model, VisionTransformer):
        return state
    resampled: dict[str, Tensor] = checkpoint_filter_fn(state, model)
    return resampled
