"""Labels for images, from a saved model or an export of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitnas import run as layout
from vitnas.data.folder import EXTENSIONS, image_files
from vitnas.data.images import FileImages, as_integers, read, unbroken
from vitnas.errors import InputError
from vitnas.export.shipment import class_names, static_record

if TYPE_CHECKING:
    from PIL import Image
    from torch import nn

    from vitnas.data.transforms import Input

BATCH = 64
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """The likeliest classes of an image, the likeliest first, each with its probability."""

    path: str
    labels: tuple[tuple[str, float], ...]


def predict(
    model: str | Path,
    images: Iterable[str | Path],
    *,
    top: int = 3,
    device: str = "auto",
    skip_broken: bool = False,
) -> Iterator[Prediction]:
    """Yield the labels of images, in their order.

    What is wrong is said before the first, files that are no images among it. An image that begins
    well and is damaged further on is named in its turn, after the labels of those before.

    Args:
        model: a model folder, or the folder of a timm, ONNX or int8 export.
        images: image files, and folders whose images are all taken.
        top: how many classes to tell of each.
        device: auto, cpu, cuda, cuda:1 or mps; ONNX models run on the CPU.
        skip_broken: leave out images that can't be read, after a warning, instead of refusing.

    Raises:
        InputError: no such model or image, a broken image, or a model without classes.
    """
    if top < 1:
        raise InputError(f"top is {top}; it must be 1 or more")
    folder = Path(model)
    record = static_record(folder)
    names = class_names(record)
    if not names:
        raise InputError(
            f"{folder} has no classes (num_classes is 0): it gives features, no labels"
        )
    input = layout.model_input(record)
    files = _files(images)
    if skip_broken:
        fine, broken = unbroken(FileImages(files, as_integers(range(len(files)))))
        if broken:
            _log.warning("skipped %d broken images: %s", len(broken), ", ".join(broken))
        files = tuple(files[index] for index in fine.tolist())
    else:
        _check(files)
    net, place = _open(folder, record, device)
    return _predictions(net, place, files, names, top, input)


def _files(images: Iterable[str | Path]) -> tuple[str, ...]:
    """Return image files, those inside of folders included.

    Raises:
        InputError: there is no such file, or no image in a folder.
    """
    found: list[str] = []
    for path in map(Path, images):
        inside = image_files(path) if path.is_dir() else [str(path)] if path.is_file() else []
        if not inside:
            what = "no image is in folder" if path.is_dir() else "there is no image"
            raise InputError(f"{what} {path} (looked for {', '.join(EXTENSIONS)})")
        found += inside
    if not found:
        raise InputError("no images given; name files or folders")
    return tuple(found)


def _open(folder: Path, record: dict[str, Any], device: str) -> tuple[nn.Module, str]:
    """Return the model, on the device where it runs, and the name of that."""
    if record.get("kind") != "export":
        from vitnas.devices import resolve_device
        from vitnas.folder import load

        place = str(resolve_device(device))
        return load(folder).to(place), place
    kept = record.get("export")
    to = kept.get("to") if isinstance(kept, dict) else None
    if to not in ("onnx", "int8"):
        raise InputError(
            f"{folder} is a {to} export; labels come from model folders and from timm, onnx and "
            "int8 exports"
        )
    from vitnas.export.int8 import OnnxModel
    from vitnas.export.onnx_file import FILE, check_installed

    check_installed()
    try:
        return OnnxModel((folder / FILE).read_bytes()), "cpu"
    except Exception as error:  # ONNX Runtime has a type for each fault, with no common base
        reason = " ".join(str(error).split())
        raise InputError(f"can't read {folder / FILE}: {reason}") from error


def _predictions(
    net: nn.Module,
    place: str,
    files: Sequence[str],
    names: Sequence[str],
    top: int,
    input: Input,
) -> Iterator[Prediction]:
    import torch

    from vitnas.data.transforms import eval_transform

    transform = eval_transform(input)
    dtype = next((parameter.dtype for parameter in net.parameters()), torch.float32)
    with torch.inference_mode():
        for start in range(0, len(files), BATCH):
            part = files[start : start + BATCH]
            images = torch.stack([transform(_read(file)) for file in part])
            logits = net(images.to(place, dtype)).float().cpu()
            found = logits.softmax(dim=1).topk(min(top, len(names)), dim=1)
            for file, values, places in zip(
                part, found.values.tolist(), found.indices.tolist(), strict=True
            ):
                labels = [names[i] for i in places]
                yield Prediction(file, tuple(zip(labels, values, strict=True)))


def _check(files: Sequence[str]) -> None:
    """Check that files begin as images do, which costs little.

    Raises:
        InputError: one doesn't.
    """
    source = FileImages(tuple(files), as_integers(range(len(files))))
    for index, file in enumerate(files):
        try:
            source.open(index).close()
        except Exception:  # PIL's plug-ins raise many types for a broken file
            _read(file)


def _read(file: str) -> Image.Image:
    try:
        return read(FileImages((file,), as_integers([0])), 0)
    except InputError as error:
        fault = str(error).partition("; replace")[0]
        raise InputError(f"{fault}; leave it out, or give --skip-broken yes") from error
