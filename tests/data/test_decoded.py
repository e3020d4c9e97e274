from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_folders import fill, picture, truncate

from vitnas.data import decoded
from vitnas.data.decoded import DecodedImages, decode_once
from vitnas.data.images import FileImages, Split, as_integers
from vitnas.data.loader import train_loader
from vitnas.data.sources import open_data
from vitnas.data.transforms import Augment, default_input
from vitnas.errors import InputError

# Python 3.12 warns of fork while torch's threads live, which is how its loader works on Linux.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@pytest.fixture
def mixed(tmp_path: Path) -> Split:
    """Grey and colour images of several sizes, the second left out."""
    files = []
    for number in range(9):
        files.append(str(tmp_path / f"{number}.png"))
        picture(number, (5 + number, 7), 1 if number % 3 else 3).save(files[-1])
    source = FileImages(tuple(files), as_integers(range(9)))
    return Split(source, as_integers([8, 0, 2, 3, 4, 5, 6, 7]))


def _bytes(split: Split) -> int:
    return sum(np.asarray(split[i][0]).size for i in range(len(split)))


def test_images_and_labels_stay_the_same(mixed: Split) -> None:
    kept = decode_once(mixed, 10_000)
    assert isinstance(kept.source, DecodedImages)
    assert len(kept.source.pixels) == _bytes(mixed)
    assert len(kept) == len(mixed)
    for number in range(len(mixed)):
        (ours, label), (theirs, expected) = kept[number], mixed[number]
        assert (ours.mode, ours.size, label) == (theirs.mode, theirs.size, expected)
        assert ours.tobytes() == theirs.tobytes()
    assert kept.source.fingerprint() == mixed.source.fingerprint()


def test_the_bound_is_kept(mixed: Split) -> None:
    total = _bytes(mixed)
    assert isinstance(decode_once(mixed, total).source, DecodedImages)
    assert decode_once(mixed, total - 1) is mixed


def test_a_wrong_estimate_is_mended(mixed: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoded, "_expected_bytes", lambda images: 10)
    kept = decode_once(mixed, 10_000)
    assert isinstance(kept.source, DecodedImages)
    assert len(kept.source.pixels) == _bytes(mixed)
    assert kept[7][0].tobytes() == mixed[7][0].tobytes()
    assert decode_once(mixed, _bytes(mixed) - 1) is mixed


def test_of_a_large_set_only_headers_are_read(
    mixed: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(decoded, "read", forbidden)
    assert decode_once(mixed, 100) is mixed


def test_images_in_memory_are_not_kept_twice() -> None:
    train = open_data("digits").train
    assert decode_once(train, 2**40) is train


def test_nothing_is_decoded_where_each_worker_would_get_a_copy(
    mixed: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    monkeypatch.setattr(multiprocessing, "get_context", lambda: context)
    assert decode_once(mixed, 10_000, workers=1) is mixed
    assert decode_once(mixed, 10_000, workers=0) is not mixed


@pytest.mark.parametrize("backend", ["pil", "batched"])
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_to_the_last_bit(
    tmp_path: Path, backend: str, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    data = open_data(f"folder/{fill(tmp_path, {'cat': 30, 'dog': 30})}")
    augment = Augment(backend=backend, repeats=2)

    def batches(cache_bytes: int) -> list[Any]:
        loader = train_loader(
            data.train,
            default_input(data, 16),
            augment,
            batch_size=8,
            seed=0,
            epoch=0,
            workers=workers,
            cache_bytes=cache_bytes,
        )
        return [batch for epoch in (0, 1) for batch in loader.at(epoch)]

    with caplog.at_level(logging.INFO):
        without = batches(0)
        assert not caplog.messages
        kept = batches(10**6)
    assert len(caplog.messages) == 1  # decoded once, not once an epoch
    assert caplog.messages[0].startswith(f"decoded {len(data.train)} training images into memory")
    for (images, labels), (others, other_labels) in zip(without, kept, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, other_labels)


def test_a_broken_image_is_one_line(tmp_path: Path) -> None:
    data = open_data(f"folder/{fill(tmp_path, {'cat': 10, 'dog': 10})}")
    broken = truncate(Path(data.train.source.where(int(data.train.indices[3]))))
    with pytest.raises(InputError, match=rf"^can't read image {re.escape(str(broken))}: .*\Z"):
        decode_once(data.train, 10**6)
