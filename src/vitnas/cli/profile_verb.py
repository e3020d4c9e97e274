"""`vitnas profile`."""

from __future__ import annotations

from typing import Any

from vitnas import cost
from vitnas.cli.log import say, table
from vitnas.cli.target import read_target
from vitnas.cli.usage import MaybeNumber, Sizes, read_sizes
from vitnas.errors import InputError


def profile(target: str, *, num_classes: MaybeNumber = None, img_size: Sizes = ()) -> None:
    """Print the parameters and MACs of an architecture or a saved model.

    The figure of its original, where that counts otherwise, is beside.

    Args:
        target: a published name, an architecture as JSON (a file, or the text), or a model folder.
        num_classes: classes of the head; by default the model folder's, else 1000.
        img_size: of the images; by default the model folder's, else 224.
    """
    arch, options = read_target(target)
    given: dict[str, Any] = {"num_classes": 1000, "img_size": 224, **options}
    if num_classes is not None:
        given["num_classes"] = num_classes
    if img_size:
        given["img_size"] = read_sizes(img_size)
    rows = [
        ["params", "exact", f"{cost.params(arch, **given):,}"],
        ["MACs", "exact, attention as the originals compute it", f"{cost.macs(arch, **given):,}"],
        [
            "MACs",
            "exact, attention as computed here",
            f"{cost.macs(arch, attention='factorised', **given):,}",
        ],
    ]
    notes = []
    for name, (covered, _) in cost.CONVENTIONS.items():
        if arch.family != covered:
            continue
        try:
            figure = f"{cost.convention(name, arch, **given):,.0f}"
        except InputError as error:
            figure = "–"
            notes.append(str(error))
        figured = "params" if name.endswith("-params") else "complexity"
        rows.append([figured, f"as counted by {name}", figure])
    table(target, ["figure", "how", "value"], rows, left=2)
    for note in notes:
        say(f"–: {note}")
