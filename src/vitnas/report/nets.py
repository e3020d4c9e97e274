"""The nets of a run side by side: smallest, searched, largest, and what each was measured at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vitnas.arch import Arch
from vitnas.report.contents import Contents, Model, entry, number
from vitnas.report.tables import Row
from vitnas.run import fingerprint


@dataclass(frozen=True)
class Net:
    """An architecture and its row in the comparison."""

    arch: Arch
    row: Row


def nets(contents: Contents) -> list[Net]:
    """Return the nets of a run by their number of parameters.

    A model that was fine-tuned or retrained adds its accuracy to the row of the model that it was
    made from, as long as data and costs are the same. Smallest and largest subnet are there even
    if nobody extracted them.
    """
    inherited = [model for model in contents.models if not _training(model)]
    found = {model.name: Net(model.arch, _inherited_row(model)) for model in inherited}
    _add_extremes(found, contents.extremes)
    by_weights = {fingerprint(m.folder): m for m in contents.models if _has_weights(m)}
    for model in contents.models:
        if not _training(model):
            continue
        base = _origin(model, by_weights)
        row = found[base.name].row if base and base.name in found else None
        if base and row and _alike(base, model) and _trained_test(row, model) is None:
            found[base.name] = Net(base.arch, _with_training(row, model))
        else:
            found[model.name] = Net(
                model.arch, _with_training(Row(model.name, model.params, model.macs), model)
            )
    return sorted(found.values(), key=lambda net: net.row.params or 0)


def _training(model: Model) -> str:
    """Return how the model was trained on, "" if it has the supernet's weights."""
    return str(entry(model.config, "provenance", "training") or "")


def _has_weights(model: Model) -> bool:
    return (model.folder / "model.safetensors").is_file()


def _origin(model: Model, by_weights: dict[str, Model]) -> Model | None:
    """Return the model with the supernet's weights from which this one was trained on."""
    base: Model | None = model
    for _ in by_weights:
        base = by_weights.get(str(entry(base.config, "provenance", "from"))) if base else None
        if base and not _training(base):
            return base
    return None


def _alike(base: Model, model: Model) -> bool:
    names = (entry(base.config, "data", "name"), entry(model.config, "data", "name"))
    costs = (base.params, base.macs), (model.params, model.macs)
    return names[0] == names[1] and costs[0] == costs[1]


def _accuracy(model: Model, split: str) -> float | None:
    """Return the top-1 on a split of the model's own data."""
    measured = entry(model.config, "metrics", split)
    own = entry(model.config, "data", "name")
    return number(measured, "top1") if entry(measured, "data") in (None, own) else None


def _inherited_row(model: Model) -> Row:
    on_search = _accuracy(model, "search")
    if on_search is None:
        on_search = number(model.config, "provenance", "search_top1")
    return Row(model.name, model.params, model.macs, on_search, _accuracy(model, "test"))


def _trained_test(row: Row, model: Model) -> float | None:
    return row.retrained_test if _training(model).startswith("retrained") else row.finetuned_test


def _with_training(row: Row, model: Model) -> Row:
    on_test = _accuracy(model, "test")
    if _training(model).startswith("retrained"):
        return replace(row, retrained_test=on_test)
    return replace(row, finetuned_test=on_test)


def _add_extremes(found: dict[str, Net], extremes: Sequence[Model]) -> None:
    """Add smallest and largest subnet, or their accuracy to the models that were extracted."""
    for model in extremes:
        row = _inherited_row(model)
        same = [name for name, net in found.items() if net.arch == model.arch]
        for name in same:
            old = found[name].row
            if old.inherited_search is None:
                new = replace(old, inherited_search=row.inherited_search)
                found[name] = Net(model.arch, new)
        if not same:
            found[model.name] = Net(model.arch, row)
