"""Labels for images."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vitnas
from vitnas.data.sources import open_data
from vitnas.data.transforms import eval_transform
from vitnas.errors import InputError
from vitnas.export import export_model, int8, predict
from vitnas.folder import read_config, update_config
from vitnas.run import model_input

from .conftest import save

NAMES = [f"digit {i}" for i in range(10)]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with three of the digits, one of them deeper inside."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    test = open_data("digits").test
    for number, name in enumerate(("0.png", "1.png", "more/2.png")):
        test[number][0].save(folder / name)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder with names of classes."""
    return save("vit", tmp_path / "model", classes=NAMES)


def test_labels_are_those_of_the_logits(model: Path, pictures: Path) -> None:
    found = list(predict(model, [pictures / "1.png", pictures], top=10, device="cpu"))
    assert [Path(one.path).name for one in found] == ["1.png", "0.png", "1.png", "2.png"]
    net, transform = vitnas.load(model), eval_transform(model_input(read_config(model)))
    for one in found:
        image = transform(Image.open(one.path))
        expected = net(image[None])[0].softmax(0)
        assert dict(one.labels) == pytest.approx(
            dict(zip(NAMES, expected.tolist(), strict=True)), abs=1e-6
        )
        chances = [chance for _, chance in one.labels]
        assert chances == sorted(chances, reverse=True)


def test_a_timm_export_gives_the_same_labels(model: Path, pictures: Path) -> None:
    made = export_model(model, "timm").path
    assert list(predict(made, [pictures])) == list(predict(model, [pictures]))


def test_an_onnx_export_is_run_by_onnx_runtime(
    model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save("vit", tmp_path / "export", classes=NAMES)
    update_config(folder, kind="export", export={"to": "onnx", "file": "../../secret"})
    with pytest.raises(InputError, match=r"can't read .*export/model\.onnx: .*No such file"):
        predict(folder, [pictures])
    (folder / "model.onnx").write_bytes(b"no model")
    with pytest.raises(InputError, match=r"can't read .*export/model\.onnx: .*INVALID_PROTOBUF"):
        predict(folder, [pictures])
    given: list[bytes] = []

    class Same(torch.nn.Module):
        def __init__(self, content: bytes) -> None:
            super().__init__()
            given.append(content)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = vitnas.load(model)(images)
            return logits

    monkeypatch.setattr(int8, "OnnxModel", Same)
    assert list(predict(folder, [pictures])) == list(predict(model, [pictures]))
    assert given == [b"no model"]


def test_other_exports_are_named(model: Path, pictures: Path) -> None:
    update_config(model, kind="export", export={"to": "executorch"})
    with pytest.raises(InputError, match="is a executorch export; labels come from model folders"):
        predict(model, [pictures])


def test_more_classes_than_there_are(model: Path, pictures: Path) -> None:
    (one,) = predict(model, [pictures / "0.png"], top=99)
    assert len(one.labels) == 10
    with pytest.raises(InputError, match="top is 0; it must be 1 or more"):
        predict(model, [pictures], top=0)


def test_classes_without_names_have_numbers(tmp_path: Path, pictures: Path) -> None:
    model = save("vit", tmp_path / "model", classes=None)
    (one,) = predict(model, [pictures / "0.png"], top=10)
    assert {label for label, _ in one.labels} == set(map(str, range(10)))


def test_a_model_of_features_has_no_labels(tmp_path: Path, pictures: Path) -> None:
    arch = vitnas.Arch("vit", depth=1, mlp_ratio=(1.0,), num_heads=(1,), embed_dim=16)
    options = {"img_size": 8, "in_chans": 1, "patch_size": 4, "head_dim": 8}
    made = vitnas.build(arch, num_classes=0, **options)
    with pytest.raises(InputError, match=r"has no classes \(num_classes is 0\)"):
        predict(vitnas.save(made, tmp_path / "features"), [pictures])


def test_a_broken_image_is_named(
    model: Path, pictures: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = pictures / "0b.png"
    broken.write_bytes((pictures / "0.png").read_bytes()[:50])
    with pytest.raises(InputError, match=r"can't read image .*0b\.png: .*; leave it out, or give"):
        list(predict(model, [pictures]))
    found = list(predict(model, [pictures], skip_broken=True))
    assert [Path(one.path).name for one in found] == ["0.png", "1.png", "2.png"]
    assert f"skipped 1 broken images: {broken}" in caplog.text


def test_what_is_broken_among_many_is_named(
    model: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not even begin as an image, before any label; what breaks off, in its turn."""
    monkeypatch.setattr(sys.modules["vitnas.export.predict"], "BATCH", 1)
    last, whole = pictures / "more" / "3.png", (pictures / "0.png").read_bytes()
    last.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"can't read image .*3\.png: .*; leave it out, or give"):
        predict(model, [pictures])
    last.write_bytes(whole[:50])
    found = predict(model, [pictures])
    assert [Path(next(found).path).name for _ in range(3)] == ["0.png", "1.png", "2.png"]
    with pytest.raises(InputError, match=r"can't read image .*3\.png: .*; leave it out, or give"):
        next(found)


def test_missing_images(model: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, message in (
        (pictures / "9.png", "there is no image"),
        (tmp_path / "empty", "no image is in folder"),
    ):
        with pytest.raises(InputError, match=message):
            predict(model, [pictures, path])
    with pytest.raises(InputError, match="no images given"):
        predict(model, [])


def test_images_of_any_size_and_colour(model: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    (one,) = predict(model, [tmp_path / "a.png"])
    assert len(one.labels) == 3


def test_a_device_that_is_not_here(model: Path, pictures: Path) -> None:
    with pytest.raises(InputError, match="no device 'cuda:9' here"):
        predict(model, [pictures], device="cuda:9")
