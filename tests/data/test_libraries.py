from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from image_folders import fill, truncate

from vitnas.data.sources import open_data
from vitnas.errors import InputError


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    """A tiny MNIST in torchvision's layout."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part, count in (("train", 40), ("t10k", 20)):
        pixels = np.arange(count * 784, dtype=np.uint8).reshape(count, 28, 28)
        for kind, array in (("images-idx3", pixels), ("labels-idx1", np.arange(count) % 10)):
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
            file = folder / f"{part}-{kind}-ubyte"
            file.write_bytes(head + array.astype(np.uint8).tobytes())
    return tmp_path


def test_torchvision_through_timm(mnist: Path) -> None:
    data = open_data("torch/mnist", root=str(mnist), search_fraction=0.25)
    assert [len(data.train), len(data.search), len(data.test)] == [30, 10, 20]
    assert (data.channels, data.size, data.classes[3]) == (1, (28, 28), "3 - three")
    assert np.asarray(data.test[1][0]).ravel()[:3].tolist() == [16, 17, 18]
    assert data.test.fingerprint() != data.train.fingerprint()


@pytest.mark.parametrize("name", ["cifar10", "mnist", "imagenet", "places365"])
def test_torchvision_files_absent(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"torch/{name} is missing or damaged in {tmp_path}; put"):
        open_data(f"torch/{name}", root=str(tmp_path))


def test_hugging_face_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match="hfds/some/name needs the library `datasets`; install it"):
        open_data("hfds/some/name")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the Hugging Face library reads; skipped where it is not installed."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pytest.importorskip("datasets")
    fill(tmp_path / "images" / "train", {"cat": 8, "dog": 8})
    fill(tmp_path / "images" / "test", {"cat": 2, "dog": 2})
    return tmp_path


def test_hugging_face(hub: Path) -> None:
    data = open_data(f"hfds/{hub / 'images'}", root=str(hub / "cache"))
    assert [len(data.train), len(data.search), len(data.test)] == [14, 2, 4]
    assert (data.classes, data.channels, data.size) == (("cat", "dog"), 3, (10, 12))
    assert data.train[0][0].mode == "RGB"


def test_hugging_face_broken_image(hub: Path) -> None:
    broken = truncate(hub / "images" / "test" / "dog" / "001.png")
    data = open_data(f"hfds/{hub / 'images'}", root=str(hub / "cache"))
    with pytest.raises(InputError, match=f"can't read image {broken}"):
        [data.test[index] for index in range(4)]


def test_hugging_face_absent(hub: Path) -> None:
    with pytest.raises(InputError, match=r"can't load hfds//nowhere: "):
        open_data("hfds//nowhere", root=str(hub / "cache"))
