from __future__ import annotations

import os
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from image_folders import fill, picture, truncate

from vitnas.data import cache
from vitnas.data.cache import EvalSet, eval_cache
from vitnas.data.images import Split
from vitnas.data.sources import Data, open_data
from vitnas.data.transforms import Input, default_input, eval_transform
from vitnas.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@pytest.fixture
def pets(tmp_path: Path) -> Data:
    fill(tmp_path / "pets", {"cat": 40, "dog": 50}, size=(20, 30))
    picture(1, (44, 25)).save(tmp_path / "pets" / "dog" / "tall.png")
    return open_data(f"folder/{tmp_path / 'pets'}")


def _expected(split: Split, input: Input) -> torch.Tensor:
    transform = eval_transform(input)
    return torch.stack([transform(split[index][0]) for index in range(len(split))])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("size", [(16, 16), (12, 18)])
def test_the_values_are_those_of_the_transform(
    pets: Data, tmp_path: Path, workers: int, mapped: bool, size: tuple[int, int]
) -> None:
    ours = Input(size)
    kept = eval_cache(pets.train, ours, folder=tmp_path if mapped else None, workers=workers)
    assert len(kept) == len(pets.train) > 64
    assert kept.images.dtype == torch.uint8
    images, labels = (torch.cat(parts) for parts in zip(*kept.batches(17), strict=True))
    assert images.dtype == torch.float32
    assert torch.equal(images, _expected(pets.train, ours))
    assert labels.tolist() == pets.train.labels.tolist()


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_data(channels: int) -> None:
    data = open_data("digits")
    ours = default_input(data, 12, channels)
    images = torch.cat([images for images, _ in eval_cache(data.search, ours).batches(100)])
    assert torch.equal(images, _expected(data.search, ours))


def test_a_file_is_used_again(pets: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Input((16, 16))
    folder = tmp_path / "cache"
    first = eval_cache(pets.search, ours, folder=folder)
    monkeypatch.setattr(Split, "__getitem__", _never)
    again = eval_cache(pets.search, ours, folder=folder)
    assert torch.equal(first.images, again.images)
    other = eval_cache(pets.search, replace(ours, mean=(0.0, 0.0, 0.0)), folder=folder)
    assert other.mean == (0.0, 0.0, 0.0)
    assert len(list(folder.iterdir())) == 1


def _never(split: Split, index: int) -> Any:
    raise AssertionError("decoded again")


def test_other_data_or_settings_get_another_file(pets: Data, tmp_path: Path) -> None:
    ours = Input((16, 16))
    folder = tmp_path / "cache"
    wanted = [
        (pets.search, ours),
        (pets.test, ours),
        (pets.search, replace(ours, img_size=(16, 20))),
        (pets.search, replace(ours, crop_pct=1.0)),
        (pets.search, replace(ours, interpolation="bilinear")),
    ]
    for split, settings in wanted:
        eval_cache(split, settings, folder=folder)
    assert len(list(folder.iterdir())) == len(wanted)
    picture(99, (20, 30)).save(pets.search.source.where(int(pets.search.indices[0])))
    kept = eval_cache(pets.search, ours, folder=folder)
    assert torch.equal(torch.cat([i for i, _ in kept.batches(9)]), _expected(pets.search, ours))


def test_the_file_is_not_changed_by_its_user(pets: Data, tmp_path: Path) -> None:
    ours = Input((16, 16))
    kept = eval_cache(pets.search, ours, folder=tmp_path / "cache")
    before = kept.images.clone()
    kept.images.zero_()
    assert torch.equal(eval_cache(pets.search, ours, folder=tmp_path / "cache").images, before)


def test_a_half_written_file_is_never_used(
    pets: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = Input((16, 16))
    folder = tmp_path / "cache"
    with monkeypatch.context() as patch:
        patch.setattr(cache, "_BATCH", 8)
        patch.setattr(Split, "__getitem__", _fails_at(pets.train, 30))
        with pytest.raises(KeyboardInterrupt):
            eval_cache(pets.train, ours, folder=folder)
    assert list(folder.glob("*.npy")) == []
    whole = eval_cache(pets.train, ours, folder=folder).images.clone()
    file = next(folder.glob("*.npy"))
    for damaged in (file.read_bytes()[:-100], b""):  # as a broken disk may do
        file.write_bytes(damaged)
        assert torch.equal(eval_cache(pets.train, ours, folder=folder).images, whole)


def test_a_killed_process_leaves_no_cache(
    pets: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, folder = Input((64, 64)), tmp_path / "cache"
    child = os.fork()
    if not child:
        try:
            monkeypatch.setattr(cache, "_BATCH", 8)
            monkeypatch.setattr(Split, "__getitem__", _dies_at(60))
            eval_cache(pets.train, ours, folder=folder)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    (half,) = folder.iterdir()
    assert half.suffix == ".tmp"
    assert 0 < half.stat().st_size < len(pets.train) * 3 * 64 * 64
    kept = eval_cache(pets.train, ours, folder=folder)
    assert torch.equal(torch.cat([i for i, _ in kept.batches(9)]), _expected(pets.train, ours))
    assert [file.suffix for file in folder.iterdir()] == [".npy"]  # and the half is gone


def _dies_at(place: int) -> Any:
    read = Split.__getitem__

    def item(self: Split, index: int) -> Any:
        if index == place:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, index)

    return item


def _fails_at(split: Split, place: int) -> Any:
    read = Split.__getitem__

    def item(self: Split, index: int) -> Any:
        if index == place:
            raise KeyboardInterrupt
        return read(self, index)

    return item


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_one_line(pets: Data, tmp_path: Path, workers: int) -> None:
    broken = truncate(Path(pets.search.source.where(int(pets.search.indices[2]))))
    folder = tmp_path / "cache"
    with pytest.raises(InputError, match=rf"^can't read image {re.escape(str(broken))}: .*\Z"):
        eval_cache(pets.search, Input((16, 16)), folder=folder, workers=workers)
    assert list(folder.iterdir()) == []


def test_a_full_disk_is_one_line(pets: Data) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    batch = torch.zeros(4096, 3, 16, 16, dtype=torch.uint8)
    with pytest.raises(OSError, match="No space left"):
        cache._save(Path("/dev/full"), tuple(batch.shape), iter([batch]))


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.integers(0, 5), st.data())
def test_subsets_are_stratified(counts: list[int], seed: int, draw: st.DataObject) -> None:
    labels = torch.tensor([c for c, n in enumerate(counts) for _ in range(n)], dtype=torch.int64)
    if not len(labels):
        return
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1)
    whole = EvalSet(images, labels, (0.0,), (1.0,))
    n = draw.draw(st.integers(1, len(labels)))
    part = whole.subset(n, seed)
    assert len(part) == n == len(set(part.images.flatten().tolist()))
    assert torch.equal(labels[part.images.flatten().long()], part.labels)
    for label, count in enumerate(counts):
        assert abs(int((part.labels == label).sum()) - count * n / len(labels)) < 1
    assert torch.equal(part.images, whole.subset(n, seed).images)


def test_subsets_differ_by_seed() -> None:
    whole = eval_cache(open_data("digits").search, default_input(open_data("digits")))
    chosen = [whole.subset(50, seed).images for seed in (0, 1)]
    assert not torch.equal(chosen[0], chosen[1])
    few = {tuple(whole.subset(2, seed).labels.tolist()) for seed in range(10)}
    assert len(few) > 3  # ties between classes fall differently
    for n in (0, 146):
        with pytest.raises(InputError, match=f"can't take {n} images out of 145; give 1 to 145"):
            whole.subset(n, 0)
    with pytest.raises(InputError, match="batch_size is 0"):
        next(whole.batches(0))


def test_another_order_keeps_the_images_where_they_are(pets: Data, tmp_path: Path) -> None:
    kept = eval_cache(pets.train, Input((16, 16)), folder=tmp_path)
    generator = torch.Generator().manual_seed(0)
    places = torch.randperm(len(kept), generator=generator)
    moved = kept.reordered(places)
    assert moved.images.data_ptr() == kept.images.data_ptr()
    images, labels = (torch.cat(parts) for parts in zip(*kept.batches(50), strict=True))
    new_images, new_labels = (torch.cat(parts) for parts in zip(*moved.batches(7), strict=True))
    assert torch.equal(new_images, images[places])
    assert torch.equal(new_labels, labels[places])
    back = moved.reordered(places.argsort())
    assert torch.equal(torch.cat([images for images, _ in back.batches(9)]), images)
    assert torch.equal(moved.subset(9, 1).images, kept.subset(9, 1).images)
    for wrong in (places[:-1], places.clamp(max=3), places + 1):
        with pytest.raises(ValueError, match=f"the places of {len(kept)} images are not each"):
            kept.reordered(wrong)


def test_only_a_cuda_device_takes_the_images(pets: Data) -> None:
    kept = eval_cache(pets.search, Input((16, 16)))
    assert kept.to("cpu") is kept
    assert kept.to("mps") is kept


@pytest.mark.parametrize(("free", "taken"), [(1.9, False), (2.1, True)])
def test_a_gpu_takes_the_images_if_there_is_room(
    pets: Data, monkeypatch: pytest.MonkeyPatch, free: float, taken: bool
) -> None:
    kept = eval_cache(pets.search, Input((16, 16)))
    moved: list[str] = []
    size = kept.images.nbytes

    def move(tensor: torch.Tensor, device: Any) -> torch.Tensor:
        moved.append(str(device))
        return tensor

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(free * size), 0))
    monkeypatch.setattr(torch.Tensor, "to", move)
    assert (kept.to("cuda:1") is not kept) == taken
    assert moved == ["cuda:1"] * 2 * taken


@pytest.mark.gpu
def test_batches_on_a_gpu(pets: Data) -> None:
    kept = eval_cache(pets.train, Input((16, 16)))
    kept = kept.reordered(torch.arange(len(kept)).flip(0))
    there = kept.to("cuda")
    assert there.images.is_cuda
    images, labels = (torch.cat(parts) for parts in zip(*kept.batches(13), strict=True))
    for split in (kept, there):
        found, classes = (torch.cat(x) for x in zip(*split.batches(13, "cuda"), strict=True))
        assert found.is_cuda
        assert torch.allclose(found.cpu(), images, atol=1e-6)
        assert torch.equal(classes.cpu(), labels)
    assert torch.equal(there.subset(9, 1).images.cpu(), kept.subset(9, 1).images)


def test_values_are_standardised() -> None:
    data = open_data("digits")
    images = torch.cat([i for i, _ in eval_cache(data.train, default_input(data)).batches(500)])
    assert np.allclose([float(images.mean()), float(images.std())], [0, 1], atol=1e-3)
