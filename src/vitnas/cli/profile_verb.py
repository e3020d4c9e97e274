"""`vitnas profile`."""

from __future__ import annotations

from vitnas import cost
from vitnas.cli.log import table
from vitnas.cli.target import read_target
from vitnas.errors import InputError


def profile(target: str, *, num_classes: int = 1000, img_size: tuple[int, ...] = (224,)) -> None:
    """Print the parameters and MACs of an architecture or a saved model.

    Args:
        target: a published name, an architecture as JSON (a file, or the text), or a model folder,
            whose own classes and image size are then used.
        num_classes: classes of the head.
        img_size: one number, or height and width.
    """
    arch, options = read_target(target)
    if not options:
        if len(img_size) not in (1, 2):
            raise InputError(f"img_size is {img_size}; it is one number, or height and width")
        pair = (img_size[0], img_size[-1])
        options = {"num_classes": num_classes, "img_size": pair}
    rows = [
        ["params", "exact", f"{cost.params(arch, **options):,}"],
        ["MACs", "exact, attention as the originals compute it", f"{cost.macs(arch, **options):,}"],
        [
            "MACs",
            "exact, attention as computed here",
            f"{cost.macs(arch, attention='factorised', **options):,}",
        ],
    ]
    for name in cost.CONVENTIONS:
        try:
            figure = f"{cost.convention(name, arch, **options):,.0f}"
        except InputError as error:
            figure = f"- ({error})"
        rows.append(["complexity", f"as counted by {name}", figure])
    table(target, ["figure", "how", "value"], rows, left=2)
