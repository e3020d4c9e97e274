"""`vitnas predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg as option

from vitnas.cli.log import say
from vitnas.cli.usage import Name, Number

if TYPE_CHECKING:
    from vitnas.export import Prediction

Images = Annotated[tuple[Path, ...], option(help_behavior_hint="(one or more)")]


def predict(
    model: Path,
    images: Images,
    *,
    top: Number = 3,
    device: Name = "auto",
    skip_broken: Literal["no", "yes"] = "no",
) -> list[Prediction]:
    """Print the likeliest classes of images, with their probabilities.

    Args:
        model: a model folder, or the folder of a timm, onnx or int8 export.
        images: image files, and folders whose images are all taken.
        top: how many classes to print of each.
        device: auto, cpu, cuda, cuda:1 or mps; ONNX models run on the CPU.
        skip_broken: yes: leave out images that can't be read, and name them.
    """
    from vitnas.export import predict as run

    found = []
    for one in run(model, images, top=top, device=device, skip_broken=skip_broken == "yes"):
        labels = ", ".join(f"{label} {100 * chance:.1f} %" for label, chance in one.labels)
        say(f"{one.path}: {labels}")
        found.append(one)
    return found
