"""The model card: what an exported model is, how it was found, how well it does, how it is used.

Front matter as the Hugging Face hub reads it. Everything that came from outside is escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from vitnas import __version__, cost
from vitnas.arch import Arch
from vitnas.export import usage
from vitnas.export.markdown import fenced, plain, table
from vitnas.export.shipment import Shipment
from vitnas.search.limits import unit
from vitnas.search.records import TOP1

LICENCES = (
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "gpl-3.0", "agpl-3.0", "lgpl-3.0"),
    *("mpl-2.0", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0"),
    *("openrail", "unlicense", "unknown"),
)
"""Identifiers of the hub; any other licence is `other` there, with its own name beside."""


def card(shipped: Shipment, to: str, notes: Mapping[str, Any], licence: str | None) -> str:
    """Return the text of README.md for an export; `notes` are what its format tells of it."""
    parts = [
        f"---\n{_front_matter(shipped, to, notes, licence)}---",
        f"# {plain(shipped.name)}",
        _summary(shipped),
        "## Use",
        usage.text(shipped, to, notes),
        "## Model",
        _sizes(shipped),
        fenced(json.dumps(shipped.record["arch"], indent=2), "json"),
        "## Accuracy",
        *_accuracy(shipped, notes),
        "## How it was made",
        *_provenance(shipped.record),
        "## Licence",
        _licence(to, licence),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(shipped: Shipment, to: str, notes: Mapping[str, Any], licence: str | None) -> str:
    known = licence is None or licence.lower() in LICENCES
    library = {"timm": "timm", "onnx": "onnx", "int8": "onnx", "executorch": "executorch"}
    fields: dict[str, Any] = {
        "license": (licence or "unknown").lower() if known else "other",
        **({} if known else {"license_name": _slug(str(licence))}),
        "library_name": library.get(to, "pytorch"),
        "pipeline_tag": "image-classification",
        "tags": [
            *("image-classification", "vision-transformer", "neural-architecture-search"),
            *("vitnas", *(["timm"] if to == "timm" else [])),
        ],
    }
    data = str(_mapping(shipped.record.get("data")).get("name", ""))
    if re.fullmatch(r"hfds/[\w.-]+(/[\w.-]+)?", data):
        fields["datasets"] = [data.removeprefix("hfds/")]
    results = list(_results(shipped, notes))
    if results:
        fields["model-index"] = [{"name": shipped.name, "results": results}]
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)


def _results(shipped: Shipment, notes: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for split, data, figures in _figures(shipped, notes):
        if split == "test":
            yield {
                "task": {"type": "image-classification"},
                "dataset": {"name": data, "type": data, "split": "test"},
                "metrics": [
                    {"type": "accuracy", "name": "top-1 (%)", "value": round(figures["top1"], 4)}
                ],
            }


def _figures(
    shipped: Shipment, notes: Mapping[str, Any]
) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Yield split, data and figures of every accuracy of the exported model itself."""
    if "int8" in notes:
        yield "test", str(notes["data"]), notes["int8"]
        return
    own = str(_mapping(shipped.record.get("data")).get("name", ""))
    for name, found in _mapping(shipped.record.get("metrics")).items():
        numbers = {key: value for key, value in _mapping(found).items() if _is_number(value)}
        if "top1" in numbers:
            split = "test" if name.startswith("test") else name
            yield split, str(_mapping(found).get("data", own)), numbers


def _summary(shipped: Shipment) -> str:
    record, classes = shipped.record, shipped.classes
    shown = ", ".join(classes[:10]) + (", …" if len(classes) > 10 else "")
    return (
        f"A vision transformer of the family {plain(record['family'])} that tells {len(classes)} "
        f"classes apart ({plain(shown)}). Its architecture was chosen with vitnas {__version__}."
    )


def _sizes(shipped: Shipment) -> str:
    arch, options = Arch.from_dict(shipped.record["arch"]), dict(shipped.record["options"])
    macs = cost.macs(arch, attention="factorised", **options)
    explicit = cost.macs(arch, **options)
    seen = shipped.input
    rows: list[tuple[str, object]] = [
        ("parameters", f"{cost.params(arch, **options):,}"),
        ("multiply-adds an image", f"{macs:,}"),
    ]
    if explicit != macs:
        rows.append(("multiply-adds as AutoFormer counts attention", f"{explicit:,}"))
    rows += [
        ("input", f"{seen.channels} × {seen.img_size[0]} × {seen.img_size[1]}"),
        ("normalisation", f"mean {_numbers(seen.mean)}, std {_numbers(seen.std)}, of pixels 0 … 1"),
        ("resizing", f"{seen.interpolation}, centre crop of {seen.crop_pct:g} of the shorter side"),
    ]
    return table(["", ""], rows)


def _accuracy(shipped: Shipment, notes: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        (split, data, *(_shown(figures, key) for key in ("top1", "top5", "loss", "images")))
        for split, data, figures in _figures(shipped, notes)
    ]
    head = ["split", "data", "top-1 %", "top-5 %", "loss", "images"]
    yield table(head, rows) if rows else "Not measured."
    if "int8" in notes:
        yield (
            f"Before quantisation top-1 is {notes['float32']['top1']:.2f} % on the same images: "
            f"int8 changes it by {notes['top1_change']:+.2f} points and the file from "
            f"{notes['float_bytes']:,} to {notes['bytes']:,} bytes."
        )
    if "largest_difference" in notes:
        yield (
            "Logits differ from those of the model it came from by at most "
            f"{notes['largest_difference']:.1g} (random images, float32)."
        )


def _provenance(record: Mapping[str, Any]) -> Iterator[str]:
    origin, data = _mapping(record.get("provenance")), _mapping(record.get("data"))
    told = {
        "chosen": origin.get("chosen"),
        "ranked on": origin.get("ranked_on"),
        "limits": ", ".join(map(str, origin.get("limits") or ())) or None,
        **_search(origin),
        "search space": _mapping(origin.get("space")).get("name"),
        "training": origin.get("training"),
        "converted from": origin.get("source"),
        "data": data.get("name"),
        "seed of the splits": data.get("seed"),
        **{f"{split} images": how for split, how in _mapping(data.get("how")).items()},
    }
    rows = [(name, value) for name, value in told.items() if value not in (None, "")]
    yield table(["", ""], rows) if rows else "Nothing is known about it."
    for title, value in (("Everything that is recorded", origin), ("The data", data)):
        if value:
            block = fenced(json.dumps(value, indent=2), "json")
            yield f"<details><summary>{title}</summary>\n\n{block}\n\n</details>"


def _search(origin: Mapping[str, Any]) -> dict[str, Any]:
    """Return how it was searched, and what the search knew of the model it found."""
    search = _mapping(origin.get("search"))
    predictor, scorer = search.get("predictor"), str(search.get("scorer", TOP1))
    score = origin.get("search_top1" if scorer == TOP1 else scorer)
    found = {scorer: score, **_mapping(origin.get("search_metrics"))}
    options = _mapping(search.get("options"))
    return {
        "settings of the search": ", ".join(f"{name}={one}" for name, one in options.items()),
        "seed of the search": search.get("seed"),
        "predictor": f"{predictor}, best of {search.get('oversample')}" if predictor else None,
        "costs measured on": search.get("measured_on"),
        **{
            f"{name} in the search": _quantity(name, value)
            for name, value in found.items()
            if _is_number(value) and name not in ("params", "macs")  # stand under Model
        },
    }


def _quantity(metric: str, value: float) -> str:
    symbol, size = unit(metric, value)
    return f"{value / size:.4g} {symbol}".strip()


def _licence(to: str, licence: str | None) -> str:
    weights = (
        f"The weights: {plain(licence)}."
        if licence
        else "Whoever publishes the weights says under which licence; none is named here yet."
    )
    code = " `modeling.py` is part of vitnas (Apache-2.0)." if to == "timm" else ""
    return f"{weights} The licence of the training data may limit their use.{code}"


def _shown(figures: Mapping[str, float], key: str) -> str:
    if key not in figures:
        return ""
    return f"{figures[key]:,.0f}" if key == "images" else f"{figures[key]:.4g}"


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-") or "other"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _mapping(value: Any) -> dict[str, Any]:
    """Return a part of a record, empty if it is missing or damaged."""
    return value if isinstance(value, dict) else {}
