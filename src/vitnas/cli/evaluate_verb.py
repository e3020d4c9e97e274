"""`vitnas evaluate`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from vitnas.cli.log import say
from vitnas.cli.target import read_arch, read_arguments
from vitnas.cli.usage import MaybeFile, MaybeName, MaybeRoot, Name, Number
from vitnas.errors import InputError
from vitnas.zoo import entries

if TYPE_CHECKING:
    from vitnas.data.cache import EvalSet
    from vitnas.data.sources import Data
    from vitnas.data.transforms import Input
    from vitnas.evaluate import Scores

_log = logging.getLogger(__name__)


class _Task(NamedTuple):
    """A net, the data that it is evaluated on, how images are prepared, and what is known of it."""

    net: Any
    images: Data
    input: Input
    record: dict[str, Any]


def evaluate(
    model: Path,
    *,
    weights: MaybeFile = None,
    config: MaybeFile = None,
    data: MaybeName = None,
    root: MaybeRoot = None,
    split: Literal["test", "search"] = "test",
    batch_size: Number = 256,
    device: Name = "auto",
    skip_broken: Literal["no", "yes"] = "no",
) -> Scores:
    """Print top-1, top-5, loss and throughput of a saved model, and keep them in its config.json.

    With --weights a published network is evaluated on images prepared as its authors do, and
    nothing is written.

    Args:
        model: a model folder, of a supernet the largest subnet; with --weights a published name, or
            a file or text of any system's description of an architecture.
        weights: a checkpoint of any system that `vitnas convert` reads, or a model folder; of a
            supernet the named subnet is evaluated.
        config: with --weights, JSON or YAML file with the original's arguments; by default read off
            the weights.
        data: a data set; by default the one that the model is for.
        root: where the data lies, for those that need it.
        split: test, or the search split that selection used.
        batch_size: images evaluated together.
        device: auto, cpu, cuda, cuda:1 or mps.
        skip_broken: yes leaves out images of the split that can't be read, and names them.
    """
    if weights is not None:
        task = _of_weights(str(model), weights, config, data, root, split)
    elif config is not None:
        raise InputError("--config is for the checkpoint that --weights names; give that, too")
    else:
        task = _of_folder(model, data, root, split)

    from vitnas.data.cache import eval_cache
    from vitnas.data.sources import without_broken

    images = without_broken(task.images, split) if skip_broken == "yes" else task.images
    held = images.test if split == "test" else images.search
    scores = _scores(task.net, eval_cache(held, task.input), batch_size, device)
    if weights is None:
        _keep(model, task.record, split, {"data": images.name, **scores.to_dict()})
    say(
        f"{model}, {split} split of {images.name}: top-1 {scores.top1:.2f}, top-5 "
        f"{scores.top5:.2f}, loss {scores.loss:.4f} ({scores.images:,} images, "
        f"{scores.images_per_s:,.0f} images/s)"
    )
    return scores


def _of_folder(model: Path, data: str | None, root: str | None, split: str) -> _Task:
    if str(model) in entries() and not model.is_dir():
        raise InputError(f"{model} is an architecture; give the file of its weights (--weights)")
    from vitnas import run as layout

    record = layout.model_record(model)
    images = layout.open_model_data(record, data, root, test_alone=split == "test")
    layout.check_classes(record, images)
    _warn_of_other_classes(record, images)

    from vitnas import folder

    return _Task(folder.load(model), images, layout.model_input(record, images), record)


def _of_weights(
    name: str, weights: Path, config: Path | None, data: str | None, root: str | None, split: str
) -> _Task:
    arch, _ = read_arch(name)
    given = read_arguments(config)
    if data is None:
        raise InputError("weights don't say what data they are for; give --data")
    from vitnas import run as layout
    from vitnas.data.sources import open_data

    images = open_data(data, root=root, test_alone=split == "test")

    from vitnas.interop.convert import open_net, subnet_of

    net, origin = open_net(weights, config=given)
    found: Any = subnet_of(net, arch, weights)
    record = found.vitnas_config
    layout.check_classes(record, images)
    if name in entries() and split == "test" and len(images.train):
        said = "%s has no test images of its own, and published figures are of all; this is %s"
        _log.warning(said, images.name, images.how["test"])
    input = layout.model_input(record, images)
    height, width = input.img_size
    say(
        f"{origin['source']} weights; images are resized ({input.interpolation}) so that the "
        f"{height}x{width} crop is {input.crop_pct:.3g} of the shorter side"
    )
    return _Task(found, images, input, record)


def _scores(net: Any, held: EvalSet, batch_size: int, device: str) -> Scores:
    from vitnas.devices import resolve_device
    from vitnas.evaluate import evaluate as run_evaluation
    from vitnas.evaluate import evaluate_subnets
    from vitnas.supernet import Supernet

    target = resolve_device(device)
    if not isinstance(net, Supernet):
        return run_evaluation(net, held, batch_size=batch_size, device=target)
    largest = net.space.largest if net.space else net.largest
    return evaluate_subnets(net, [largest], held, batch_size=batch_size, device=target)[0]


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
