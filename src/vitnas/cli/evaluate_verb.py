"""`vitnas evaluate`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vitnas.cli.log import say
from vitnas.cli.usage import MaybeName, MaybeRoot, Name, Number

if TYPE_CHECKING:
    from vitnas.data.sources import Data
    from vitnas.evaluate import Scores

_log = logging.getLogger(__name__)


def evaluate(
    model: Path,
    *,
    data: MaybeName = None,
    root: MaybeRoot = None,
    split: Literal["test", "search"] = "test",
    batch_size: Number = 256,
    device: Name = "auto",
) -> Scores:
    """Print top-1, top-5, loss and throughput of a saved model, and keep them in its config.json.

    Args:
        model: a model folder; of a supernet the largest subnet is evaluated.
        data: a data set; by default the one that the model is for.
        root: where the data lies, for those that need it.
        split: test, or the search split that selection used.
        batch_size: images evaluated together.
        device: auto, cpu, cuda, cuda:1 or mps.
    """
    from vitnas import run as layout

    record = layout.model_record(model)
    images = layout.open_model_data(record, data, root)
    layout.check_classes(record, images)
    _warn_of_other_classes(record, images)

    from vitnas import folder
    from vitnas.data.cache import eval_cache
    from vitnas.devices import resolve_device
    from vitnas.evaluate import evaluate as run_evaluation
    from vitnas.evaluate import evaluate_subnets
    from vitnas.supernet import Supernet

    target = resolve_device(device)
    net = folder.load(model)
    held = images.test if split == "test" else images.search
    cached = eval_cache(held, layout.model_input(record, images))
    if isinstance(net, Supernet):
        largest = net.space.largest if net.space else net.largest
        (scores,) = evaluate_subnets(net, [largest], cached, batch_size=batch_size, device=target)
    else:
        scores = run_evaluation(net, cached, batch_size=batch_size, device=target)
    _keep(model, record, split, {"data": images.name, **scores.to_dict()})
    say(
        f"{model}, {split} split of {images.name}: top-1 {scores.top1:.2f}, top-5 "
        f"{scores.top5:.2f}, loss {scores.loss:.4f} ({scores.images:,} images, "
        f"{scores.images_per_s:,.0f} images/s)"
    )
    return scores


def _keep(model: Path, record: dict[str, Any], split: str, figures: dict[str, Any]) -> None:
    """Add figures to the metrics, those on other data than the model's own under their own name."""
    from vitnas import folder

    own = (record.get("data") or {}).get("name", figures["data"])
    name = split if figures["data"] == own else f"{split} of {figures['data']}"
    before = (record.get("metrics") or {}).get(name)
    folder.update_config(model, metrics={name: {**(before or {}), **figures}})


def _warn_of_other_classes(record: dict[str, Any], images: Data) -> None:
    known = record.get("classes")
    if known is not None and list(known) != list(images.classes):
        _log.warning(
            "the model's classes are named %s, ...; those of %s are named %s, ...: the accuracy "
            "means something only if they are the same things in the same order",
            ", ".join(map(str, known[:3])),
            images.name,
            ", ".join(images.classes[:3]),
        )
