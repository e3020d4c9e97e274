from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from image_folders import picture, shard

from vitnas.data.sources import open_data
from vitnas.errors import InputError


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    (tmp_path / "pets-train-0000.tar").write_bytes(shard(range(12)))
    (tmp_path / "pets-train-0001.tar").write_bytes(shard(range(12, 20)))
    (tmp_path / "pets-validation-0000.tar").write_bytes(shard(range(20, 24)))
    return tmp_path


def test_splits_by_file_name(shards: Path) -> None:
    data = open_data(f"wds/{shards}")
    assert [len(data.train), len(data.search), len(data.test)] == [18, 2, 4]
    assert data.classes == ("0", "1")
    for split, first in ((data.train, 0), (data.search, 0), (data.test, 20)):
        for place, index in enumerate(split.indices.tolist()):
            image, label = split[place]
            assert np.array_equal(np.asarray(image), np.asarray(picture(first + index)))
            assert label == (first + index) % 2


def test_splits_by_info_file(shards: Path) -> None:
    splits = {"train": {"filenames": ["pets-train-0001.tar"]}}
    (shards / "_info.json").write_text(json.dumps({"splits": splits}))
    data = open_data(f"wds/{shards}")
    assert len(data.train) + len(data.search) + len(data.test) == 8


def test_broken_images(shards: Path) -> None:
    file = shards / "pets-validation-0000.tar"
    with tarfile.open(file) as tar:
        offset = tar.getmember("part/0021.png").offset_data
    content = bytearray(file.read_bytes())
    content[offset : offset + 20] = bytes(20)
    file.write_bytes(content)
    with pytest.raises(InputError, match=f"can't read image {file}:part/0021.png: "):
        open_data(f"wds/{shards}").test[1]
    data = open_data(f"wds/{shards}", skip_broken=True)
    assert data.test.indices.tolist() == [0, 2, 3]
    assert data.skipped == (f"{file}:part/0021.png",)


def _message(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_data(f"wds/{path}")
    return str(caught.value)


def test_no_training_shards(shards: Path) -> None:
    for file in shards.glob("*train*"):
        file.unlink()
    assert f"{shards} has no training shards" in _message(shards)
    data = open_data(f"wds/{shards}", test_alone=True)
    assert (len(data.train), len(data.test), data.classes) == (0, 4, ("0", "1"))


def test_samples_without_class(shards: Path) -> None:
    file = shards / "pets-train-0002.tar"
    file.write_bytes(shard([30], labels=False))
    assert f"part/0030.png in {file} has no class; a file part/0030.cls" in _message(shards)


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ("1000000000000", "part/0030.png in {} has no class; "),
        ("9" * 5000, "part/0030.png in {} has no class; "),
        ("9" * 50, "part/0030.png in {} has no class; "),
        ("-1", "part/0030.png in {} has no class; "),
        ("x", "can't read shard {}: "),
    ],
)
def test_classes_that_are_none(shards: Path, label: str, told: str) -> None:
    """A number without end would ask for as many names of classes."""
    file = shards / "pets-train-0002.tar"
    file.write_bytes(shard([30], label=label))
    message = _message(shards)
    assert told.format(file) in message
    assert len(message) < 500


def test_a_cut_shard(shards: Path) -> None:
    file = shards / "pets-train-0001.tar"
    file.write_bytes(file.read_bytes()[:1000])
    assert f"can't read shard {file}: " in _message(shards)


def test_no_images(shards: Path) -> None:
    for file in shards.glob("*train*"):
        file.write_bytes(shard([]))
    assert "have no images" in _message(shards)


def test_an_info_file_without_splits(shards: Path) -> None:
    (shards / "info.json").write_text("[]")
    assert f"{shards / 'info.json'} doesn't list splits" in _message(shards)
