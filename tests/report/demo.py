"""Made-up searches and runs over a real space with real costs."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import vitnas
from vitnas import files
from vitnas.arch import Arch
from vitnas.cost import counters
from vitnas.search.ledger import Record
from vitnas.search.limits import Limit
from vitnas.search.racing import one_by_one
from vitnas.search.study import search

SPACE = vitnas.space("autoformer-digits")
OPTIONS: dict[str, Any] = {"num_classes": 10, "img_size": 8, "in_chans": 1}
COSTS = counters(**OPTIONS)
LIMIT = Limit("params", maximum=60_000)


def score(arch: Arch) -> float:
    """A plausible top-1 in percent: larger is better, with a fixed noise for each architecture."""
    noise = random.Random(repr(arch)).gauss(0, 0.3)
    gain = math.log(COSTS["params"](arch) / 9_000) + 0.1 * arch["depth"]  # type: ignore[operator]
    return round(94.0 + 1.4 * gain + noise, 2)


def record(number: int, arch: Arch, **changes: Any) -> Record:
    """A completed trial."""
    fields: dict[str, Any] = {
        "number": number,
        "index": number,
        "arch": arch,
        "score": score(arch),
        "metrics": {name: float(cost(arch)) for name, cost in COSTS.items()},
        "origin": "random",
        "parents": (),
        "generation": 0,
        "seconds": 0.1,
        "state": "complete",
    }
    return Record(**{**fields, **changes})


def records(count: int, seed: int = 0) -> list[Record]:
    """Completed trials of random architectures."""
    return [record(i, SPACE.sample(seed=1000 * seed + i)) for i in range(count)]


def training_lines(epochs: int = 12, steps: int = 20) -> list[dict[str, Any]]:
    """The metrics of a training whose loss falls and whose accuracies rise."""
    rng, lines = random.Random(0), []
    for epoch in range(epochs):
        for step in range(epoch * steps + 1, (epoch + 1) * steps + 1):
            loss = 0.55 + 1.8 * math.exp(-step / (2.5 * steps)) + rng.gauss(0, 0.06)
            lines.append({"kind": "step", "step": step, "epoch": epoch, "loss": loss, "lr": 1e-3})
        rise = 1 - math.exp(-(epoch + 1) / 2.5)
        top1 = {"top1_smallest": 91 * rise, "top1_largest": 97.5 * rise, "top1_random": 95 * rise}
        lines.append({"kind": "evaluation", "step": step, "epoch": epoch, **top1})
    return lines


def write_model(folder: Path, arch: Arch, weights: bytes, **config: Any) -> None:
    """A model folder with everything that a report reads."""
    options = {**OPTIONS, "img_size": [8, 8]}
    data = {"name": "digits", "images": {"train": 1222, "search": 215, "test": 360}}
    record = {"vitnas": 1, "kind": "model", "arch": arch.to_dict(), "options": options}
    files.write_json(folder / "config.json", {**record, "data": data, **config})
    files.write(folder / "model.safetensors", weights)


def make_small_run(folder: Path) -> Path:
    """A run of which only two steps of training are there."""
    folder.mkdir(parents=True)
    lines = [{"kind": "step", "step": step, "epoch": 0, "loss": 2.5 - step} for step in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def make_run(run: Path, trials: int = 24) -> Path:
    """A whole run: training, two searches, three extracted and three fine-tuned models."""
    files.write(
        run / "config.yaml", "data: digits\nspace: autoformer-digits\nepochs: 12\nseed: 0\n"
    )
    files.write(run / "metrics.jsonl", "".join(json.dumps(m) + "\n" for m in training_lines()))
    data = {
        "name": "digits",
        "images": {"train": 1222, "search": 215, "test": 360},
        "how": {"train": "80 % of the images", "search": "15 % of train", "test": "20 %, fixed"},
    }
    top1 = {"top1_smallest": score(SPACE.smallest), "top1_largest": score(SPACE.largest)}
    supernet = {
        "vitnas": 1,
        "kind": "supernet",
        "space": SPACE.to_dict(),
        "options": {**OPTIONS, "img_size": [8, 8]},
        "data": data,
        "metrics": {"search": top1},
    }
    files.write_json(run / "supernet" / "config.json", supernet)
    for strategy in ("random", "evolution"):
        options = {"population": 8, "mutants": 4, "crossovers": 3, "parents": 3}
        found = search(
            SPACE,
            one_by_one(lambda arch: {"score": score(arch)}),
            strategy=strategy,
            options=options if strategy == "evolution" else {},
            limits=[LIMIT],
            costs=COSTS,
            trials=trials,
            folder=run / "searches" / strategy,
            evaluated_on="search split of digits, 215 images, weights 0123456789abcdef",
        )
    best = max(found, key=lambda r: r.score)
    chosen = {"smallest": SPACE.smallest, "evolution": best.arch, "largest": SPACE.largest}
    for name, arch in chosen.items():
        weights = name.encode()
        origin = {"search_top1": best.score} if name == "evolution" else {}
        measured = {"test": {"data": "digits", "top1": score(arch) - 0.4, "images": 360}}
        folder = run / "models" / name
        write_model(folder, arch, weights, provenance=origin, metrics=measured)
        tuned = {"training": "fine-tuned", "from": vitnas_fingerprint(folder), **origin}
        measured = {"test": {"data": "digits", "top1": score(arch) + 0.5, "images": 360}}
        folder = run / "models" / f"{name}-finetuned"
        write_model(folder, arch, weights + b"2", provenance=tuned, metrics=measured)
    return run


def vitnas_fingerprint(folder: Path) -> str:
    """The fingerprint by which a model names the one that it was trained from."""
    from vitnas.run import fingerprint

    return fingerprint(folder)
