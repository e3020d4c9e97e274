from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from image_folders import fill, picture, truncate
from PIL import Image

from vitnas.data.folder import open_folder
from vitnas.data.images import FileImages
from vitnas.data.sources import open_data
from vitnas.errors import InputError


def _files(path: Path) -> tuple[str, ...]:
    source = open_folder(path).train
    assert isinstance(source, FileImages)
    return source.files


def test_class_folders_alone_give_three_splits(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 20, "dog": 10})
    data = open_data(f"folder/{tmp_path}", search_fraction=0.25)
    assert data.classes == ("cat", "dog")
    assert (data.channels, data.size) == (3, (10, 12))
    assert [len(data.train), len(data.search), len(data.test)] == [18, 6, 6]
    used = np.concatenate([data.train.indices, data.search.indices, data.test.indices])
    assert sorted(used.tolist()) == list(range(30))
    assert np.bincount(data.test.labels).tolist() == [4, 2]
    image, label = data.train[0]
    assert (image.mode, image.size, label) == ("RGB", (12, 10), 0)


def test_the_test_part_is_the_same_for_every_seed(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 20, "dog": 20})
    one, two = (open_data(f"folder/{tmp_path}", seed=seed) for seed in (0, 1))
    assert np.array_equal(one.test.indices, two.test.indices)
    assert not np.array_equal(one.search.indices, two.search.indices)


@pytest.mark.parametrize("name", ["val", "validation", "test"])
def test_own_test_images_are_kept_apart(tmp_path: Path, name: str) -> None:
    fill(tmp_path / "train", {"cat": 10, "dog": 10})
    fill(tmp_path / name, {"cat": 3, "dog": 4})
    data = open_data("folder/" + tmp_path.name, root=str(tmp_path.parent))
    assert [len(data.train), len(data.search), len(data.test)] == [18, 2, 7]
    assert data.test.source is not data.train.source is data.search.source
    assert name in data.describe()["how"]["test"]


def test_the_test_split_alone_is_the_same(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"cat": 10, "dog": 10})
    name = f"folder/{tmp_path}"
    held = open_data(name, seed=3).test
    assert np.array_equal(open_data(name, seed=3, test_alone=True).test.indices, held.indices)
    fill(tmp_path / "val", {"cat": 3, "dog": 4})
    whole, alone = open_data(name), open_data(name, test_alone=True)
    assert alone.test.fingerprint() == whole.test.fingerprint()
    assert (alone.channels, alone.size, alone.classes) == (
        whole.channels,
        whole.size,
        whole.classes,
    )


def test_few_training_images_are_enough_for_the_test_split(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"cat": 1, "dog": 1})
    fill(tmp_path / "val", {"cat": 3, "dog": 4})
    with pytest.raises(InputError, match="too few images to hold any out"):
        open_data(f"folder/{tmp_path}")
    assert len(open_data(f"folder/{tmp_path}", test_alone=True).test) == 7


def test_broken_images_of_the_test_split(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path / "val", {"cat": 3, "dog": 4})
    files = open_folder(tmp_path, test_alone=True).train
    assert isinstance(files, FileImages)
    Path(files.files[0]).write_bytes(b"")
    data = open_data(f"folder/{tmp_path}", skip_broken=True, test_alone=True)
    assert (len(data.test), data.skipped) == (6, (files.files[0],))
    assert "skipped 1 broken images" in caplog.text
    for file in files.files:
        Path(file).write_bytes(b"")
    with pytest.raises(InputError, match="has no test image that can be read"):
        open_data(f"folder/{tmp_path}", skip_broken=True, test_alone=True)


def test_many_classes_without_test_images_are_told_in_few_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    classes = [f"c{number}" for number in range(9)]
    fill(tmp_path / "train", dict.fromkeys(classes, 2))
    fill(tmp_path / "val", {"c0": 2})
    open_folder(tmp_path)
    told = ", ".join(str(tmp_path / "val" / name) for name in classes[1:6])
    assert caplog.messages == [f"no test images in {told} and 3 more"]


def test_unlabelled_test_images_give_way_to_validation(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"cat": 4, "dog": 4})
    fill(tmp_path / "val", {"dog": 2, "cat": 2})
    (tmp_path / "test").mkdir()
    picture(0).save(tmp_path / "test" / "a.png")
    assert open_folder(tmp_path).test_how == f"all of {tmp_path / 'val'}"


def test_train_alone_gives_up_some_for_test(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"cat": 10, "dog": 10})
    assert len(open_data(f"folder/{tmp_path}").test) == 4


def test_classes_and_files_are_in_order(tmp_path: Path) -> None:
    fill(tmp_path, {"c10": 2, "c9": 2, "B": 2, "a": 2})
    assert open_folder(tmp_path).classes == ("a", "B", "c9", "c10")
    names = [str(Path(file).relative_to(tmp_path)) for file in _files(tmp_path)]
    expected = [f"{c}/{i:03}.png" for c in ("a", "B", "c9", "c10") for i in (0, 1)]
    assert names == expected


def test_the_order_of_the_disk_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, {"cat": 9, "dog": 9})
    before = _files(tmp_path)
    iterdir, walk = Path.iterdir, os.walk
    monkeypatch.setattr(Path, "iterdir", lambda self: iter(sorted(iterdir(self), reverse=True)))
    monkeypatch.setattr(
        os, "walk", lambda *a, **k: ((r, d, sorted(f, reverse=True)) for r, d, f in walk(*a, **k))
    )
    assert _files(tmp_path) == before


def test_images_lie_deeper_and_hidden_or_other_files_are_left_out(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 2, "dog": 2})
    fill(tmp_path / "cat", {"old": 1, ".trash": 1})
    (tmp_path / ".git").mkdir()
    (tmp_path / "dog" / "notes.txt").write_text("no image")
    (tmp_path / "dog" / "._000.png").write_text("no image")
    assert open_folder(tmp_path).classes == ("cat", "dog")
    assert [Path(file).name for file in _files(tmp_path)] == ["000.png", "001.png"] + 1 * [
        "000.png", "000.png", "001.png",
    ]  # fmt: skip


def _message(path: Path, **settings: bool) -> str:
    with pytest.raises(InputError) as caught:
        open_data(f"folder/{path}", **settings)  # type: ignore[arg-type]
    return str(caught.value)


def test_missing_folder(tmp_path: Path) -> None:
    assert f"there is no folder {tmp_path / 'no'}" in _message(tmp_path / "no")


def test_no_class_folders(tmp_path: Path) -> None:
    picture(0).save(tmp_path / "a.png")
    assert f"{tmp_path} has no class folders; put the images" in _message(tmp_path)


def test_no_class_folders_in_train(tmp_path: Path) -> None:
    fill(tmp_path / "val", {"cat": 1})
    (tmp_path / "train").mkdir()
    assert f"{tmp_path / 'train'} has no class folders" in _message(tmp_path)


def test_val_without_train(tmp_path: Path) -> None:
    fill(tmp_path / "val", {"cat": 3, "dog": 1})
    assert f"{tmp_path} has val but no train folder" in _message(tmp_path)
    data = open_data(f"folder/{tmp_path}", test_alone=True)
    assert (len(data.train), len(data.search), data.classes) == (0, 0, ("cat", "dog"))
    assert data.how == {"test": f"all of {tmp_path / 'val'}"}
    assert data.test.labels.tolist() == open_folder(tmp_path, test_alone=True).train.labels.tolist()


def test_no_images(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 0, "dog": 0})
    assert "have no images (looked for .jpg" in _message(tmp_path)


def test_an_empty_class(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 5, "dog": 0})
    assert f"class folder {tmp_path / 'dog'} has no images; add" in _message(tmp_path)


def test_a_class_that_test_lacks_is_fine(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"cat": 5, "dog": 5})
    fill(tmp_path / "val", {"dog": 2})
    assert open_data(f"folder/{tmp_path}").test.labels.tolist() == [1, 1]


def test_a_class_that_train_lacks(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"cat": 5, "dog": 5})
    fill(tmp_path / "val", {"dog": 2, "fox": 1})
    assert "has a class 'fox' that" in _message(tmp_path)


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 5})
    assert "has only one class folder, 'cat'" in _message(tmp_path)


def test_too_few_images(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 5, "dog": 2})
    assert "too few images to hold any out in class 'dog' (2): 3 are needed" in _message(tmp_path)
    fill(tmp_path / "train", {"cat": 5, "dog": 2})
    fill(tmp_path / "test", {"cat": 1, "dog": 1})
    assert len(open_data(f"folder/{tmp_path}").train) == 5


def test_a_broken_image_is_named_when_it_is_read(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 6, "dog": 6})
    broken = truncate(tmp_path / "dog" / "003.png")
    data = open_data(f"folder/{tmp_path}")
    splits = (data.train, data.search, data.test)
    with pytest.raises(InputError, match=rf"can't read image {re.escape(str(broken))}: .*skip_br"):
        [split[index] for split in splits for index in range(len(split))]


def test_broken_images_are_left_out_on_demand(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path / "train", {"cat": 6, "dog": 6})
    fill(tmp_path / "val", {"cat": 2, "dog": 2})
    broken = [truncate(tmp_path / "train/dog/003.png"), tmp_path / "val" / "cat" / "000.png"]
    broken[1].write_text("no image at all")
    data = open_data(f"folder/{tmp_path}", skip_broken=True)
    assert [len(data.train), len(data.search), len(data.test)] == [9, 2, 3]
    for split in (data.train, data.search, data.test):
        assert all(split[index][0].mode == "RGB" for index in range(len(split)))
    assert data.describe()["skipped"] == [str(file) for file in broken]
    assert "skipped 2 broken images" in caplog.text


def test_nothing_but_broken_images(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 4, "dog": 4})
    for file in tmp_path.rglob("*.png"):
        truncate(file)
    assert "has no training image that can be read" in _message(tmp_path, skip_broken=True)


def test_grey_folders_have_one_channel_and_no_common_size(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 4, "dog": 4}, channels=1)
    picture(1, (20, 20), 1).save(tmp_path / "dog" / "large.png")
    data = open_data(f"folder/{tmp_path}")
    assert (data.channels, data.size) == (1, None)


def test_sixteen_bit_images_keep_their_contrast(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 4, "dog": 4})
    deep = np.arange(120, dtype=np.uint16).reshape(10, 12) * 500
    Image.fromarray(deep).save(tmp_path / "cat" / "000.png")
    Image.fromarray(deep.astype(np.float32)).save(tmp_path / "dog" / "000.tif")
    source = open_folder(tmp_path).train
    data = open_data(f"folder/{tmp_path}")
    assert isinstance(source, FileImages)
    from vitnas.data.images import read

    assert np.array_equal(np.asarray(read(source, 0)), deep // 256)
    pgm = b"P5 12 10 65535\n" + deep.astype(">u2").tobytes()
    (tmp_path / "cat" / "000.png").write_bytes(pgm)
    assert np.array_equal(np.asarray(read(source, 0)), deep // 256)
    with pytest.raises(InputError, match=r"000\.tif: its pixels have 32 bits"):
        read(source, source.files.index(str(tmp_path / "dog" / "000.tif")))
    assert data.channels == 3


def test_the_fingerprint_follows_the_files(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 5, "dog": 5})
    data = open_data(f"folder/{tmp_path}")
    before = data.train.fingerprint()
    assert before == open_data(f"folder/{tmp_path}").train.fingerprint()
    assert before != data.search.fingerprint()
    assert before != open_data(f"folder/{tmp_path}", seed=1).train.fingerprint()
    picture(77, (11, 11)).save(tmp_path / "cat" / "000.png")
    assert before != open_data(f"folder/{tmp_path}").train.fingerprint()
