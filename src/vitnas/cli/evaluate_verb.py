"""`vitnas evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vitnas.cli.log import console

if TYPE_CHECKING:
    from vitnas.evaluate import Scores


def evaluate(
    model: Path,
    *,
    data: str | None = None,
    root: str | None = None,
    split: Literal["test", "search"] = "test",
    batch_size: int = 256,
    device: str = "auto",
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
    from vitnas import folder
    from vitnas import run as layout
    from vitnas.data.cache import eval_cache
    from vitnas.evaluate import evaluate as run_evaluation
    from vitnas.supernet import Supernet
    from vitnas.train.devices import resolve_device

    record = folder.read_config(model)
    net = folder.load(model)
    if isinstance(net, Supernet):
        net = net.extract(net.space.largest if net.space else net.largest)
    images = layout.open_model_data(record, data, root)
    layout.check_classes(record, images)
    held = images.test if split == "test" else images.search
    cached = eval_cache(held, layout.model_input(record, images))
    scores = run_evaluation(net, cached, batch_size=batch_size, device=resolve_device(device))
    figures = {"data": images.name, **scores.to_dict()}
    folder.update_config(model, metrics={split: figures})
    console().print(
        f"{model}, {split} split of {images.name}: top-1 {scores.top1:.2f}, top-5 "
        f"{scores.top5:.2f}, loss {scores.loss:.4f} ({scores.images:,} images, "
        f"{scores.images_per_s:,.0f} images/s)",
        highlight=False,
        soft_wrap=True,
    )
    return scores
