from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vitnas.data import bundled
from vitnas.data.bundled import read_idx
from vitnas.data.sources import open_data
from vitnas.errors import InputError

IMAGES, LABELS = "images-idx3-ubyte.gz", "labels-idx1-ubyte.gz"


def _idx(array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    return gzip.compress(head + array.tobytes())


@pytest.fixture
def fashion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny Fashion-MNIST: 40 training and 20 test images."""
    monkeypatch.setattr(bundled, "FASHION_FOLDER", tmp_path / "package")
    folder = tmp_path / "fashion"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for part, count in (("train", 40), ("t10k", 20)):
        pixels = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        (folder / f"{part}-{IMAGES}").write_bytes(_idx(pixels))
        labels = np.arange(count, dtype=np.uint8) % 10
        (folder / f"{part}-{LABELS}").write_bytes(_idx(labels))
    return folder


def test_digits() -> None:
    data = open_data("digits")
    assert (data.channels, data.size, len(data.classes)) == (1, (8, 8), 10)
    indices = [part.indices.tolist() for part in (data.train, data.search, data.test)]
    assert sorted(index for part in indices for index in part) == list(range(1797))
    assert [len(part) for part in indices] == [1293, 145, 359]
    counts = [np.bincount(part.labels) for part in (data.train, data.search, data.test)]
    assert all(part.max() - part.min() <= 6 for part in counts)
    image, label = data.search[3]
    assert (image.mode, image.size, label) == ("L", (8, 8), data.search.labels[3])
    assert max(int(np.asarray(data.train[i][0]).max()) for i in range(5)) == 255


def test_seed_and_fraction_change_search_and_never_test() -> None:
    one, two, three = open_data("digits"), open_data("digits", seed=1), open_data("digits")
    assert np.array_equal(one.search.indices, three.search.indices)
    assert not np.array_equal(one.search.indices, two.search.indices)
    half = open_data("digits", search_fraction=0.5)
    assert abs(len(half.search) - len(half.train)) <= 10
    for data in (two, half):
        assert np.array_equal(one.test.indices, data.test.indices)


def test_the_description_is_json() -> None:
    told = open_data("digits", search_fraction=0.2, seed=7).describe()
    assert json.loads(json.dumps(told)) == told
    assert (told["name"], told["num_classes"]) == ("digits", 10)
    assert (told["seed"], told["search_fraction"], told["skipped"]) == (7, 0.2, [])
    assert told["images"] == {"train": 1151, "search": 287, "test": 359}
    assert told["how"]["search"] == "0.2 of each class of the training images, seed 7"
    assert told["how"]["test"].startswith("20% of each class")


def test_fashion_mnist(fashion: Path) -> None:
    data = open_data("fashion-mnist", root=str(fashion), search_fraction=0.25)
    assert [len(data.train), len(data.search), len(data.test)] == [30, 10, 20]
    assert (data.channels, data.size, data.classes[9]) == (1, (28, 28), "Ankle boot")
    assert data.test.labels.tolist() == [*range(10)] * 2
    pixels = read_idx(fashion / f"t10k-{IMAGES}")
    assert np.array_equal(np.asarray(data.test[4][0]), pixels[4])


def test_fashion_mnist_of_the_package(fashion: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "FASHION_FOLDER", fashion)
    assert len(open_data("fashion-mnist").test) == 20


@pytest.mark.skipif(not bundled.FASHION_FOLDER.is_dir(), reason="fashion-mnist is not installed")
def test_the_real_fashion_mnist() -> None:
    data = open_data("fashion-mnist")
    assert [len(data.train), len(data.search), len(data.test)] == [54000, 6000, 10000]
    assert np.bincount(data.search.labels).tolist() == [600] * 10


def test_fashion_mnist_absent(fashion: Path) -> None:
    (fashion / f"t10k-{LABELS}").unlink()
    with pytest.raises(InputError, match=r"install the Debian package dataset-fashion-mnist, or"):
        open_data("fashion-mnist", root=str(fashion))


@pytest.mark.parametrize(
    "damage",
    [b"", b"no gzip", gzip.compress(b"\0\0\x08\x03\0\0", mtime=0), "cut", "short", "bomb"],
)
def test_a_damaged_idx_file(fashion: Path, damage: bytes | str) -> None:
    file = fashion / f"train-{IMAGES}"
    whole = file.read_bytes()
    cut = {
        "cut": whole[:-100],
        "short": gzip.compress(gzip.decompress(whole)[:-1]),
        "bomb": gzip.compress(bytes(bundled.LARGEST + 1), 1),
    }
    file.write_bytes(cut[damage] if isinstance(damage, str) else damage)
    with pytest.raises(InputError, match=rf"{file}.*; get the file again"):
        open_data("fashion-mnist", root=str(fashion))


def test_labels_that_do_not_belong(fashion: Path) -> None:
    (fashion / f"train-{LABELS}").write_bytes(_idx(np.arange(39, dtype=np.uint8) % 10))
    with pytest.raises(InputError, match="don't hold images with labels 0 to 9"):
        open_data("fashion-mnist", root=str(fashion))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digit", "unknown data 'digit'; did you mean 'digits'?"),
        ("fashion_mnist", "did you mean 'fashion-mnist'?"),
        ("cifar10", "did you mean 'torch/cifar10'?"),
        ("torch/cifar1O", "did you mean 'torch/cifar10'?"),
        ("folder/", "did you mean 'folder/PATH'?"),
        ("", "unknown data ''"),
        ("tfds/mnist", "is a stream, which can't be split or continued exactly; use hfds/"),
        ("torch/cifar10", "torch/cifar10 needs root"),
        ("wds/nowhere", "there is no folder nowhere; wds/PATH takes a folder of .tar shards"),
    ],
)
def test_wrong_names(name: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        open_data(name)
    assert message in str(caught.value)


def test_a_bare_path_is_told_its_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"a folder of images is named folder/{tmp_path}"):
        open_data(str(tmp_path))


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_search_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(InputError, match=r"search_fraction is .*, it must lie between 0 and 1"):
        open_data("digits", search_fraction=fraction)


def test_wrong_names_are_told_without_loading_torch() -> None:
    code = (
        "import sys\nfrom vitnas.data.sources import open_data\nimport vitnas.data.transforms\n"
        "try: open_data('digit')\nexcept ValueError: sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
