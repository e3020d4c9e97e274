"""ONNX, torch.export, ExecuTorch and int8: logits, any batch, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import Tensor

import vitnas
from vitnas.cost import conditions, onnx_runtime
from vitnas.data.sources import open_data
from vitnas.errors import InputError
from vitnas.export import agreement, executorch_file, export_model, int8, onnx_file, torch_export
from vitnas.export.shipment import open_shipment

from .conftest import MODELS, save

SLOW = [
    pytest.param(name, marks=() if name == "autoformer" else pytest.mark.slow) for name in MODELS
]


def batches() -> list[Tensor]:
    """Images in batches that no export has seen."""
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(count, 1, 8, 8, generator=generator) for count in (1, 3, 7)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the folders of all tiny models."""
    folder = tmp_path_factory.mktemp("saved")
    for name in MODELS:
        save(name, folder / name)
    return folder


@pytest.fixture(scope="module")
def int8_export(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An int8 export."""
    return export_model(saved / "vit", "int8", tmp_path_factory.mktemp("int8") / "out")


@pytest.mark.parametrize("name", SLOW)
def test_onnx_takes_any_batch_and_gives_the_logits(name: str, saved: Path, tmp_path: Path) -> None:
    made = export_model(saved / name, "onnx", tmp_path / "out")
    assert sorted(path.name for path in made.path.iterdir()) == [
        "README.md",
        "config.json",
        "model.onnx",
    ]
    assert made.notes["largest_difference"] <= agreement.TOLERANCE
    content = (made.path / "model.onnx").read_bytes()
    assert str(Path(vitnas.__file__).parent).encode() not in content
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    model = vitnas.load(saved / name)
    for images in batches():
        (logits,) = session.run(["logits"], {"images": images.numpy()})
        assert np.abs(logits - model(images).detach().numpy()).max() <= 1e-4


@pytest.mark.parametrize("name", SLOW)
def test_torch_export_takes_any_batch(name: str, saved: Path, tmp_path: Path) -> None:
    made = export_model(saved / name, "torch-export", tmp_path / "out")
    content = (made.path / "model.pt2").read_bytes()
    assert str(Path(vitnas.__file__).parent).encode() not in content
    program = torch.export.load(made.path / "model.pt2").module()
    model = vitnas.load(saved / name)
    for images in batches():
        torch.testing.assert_close(program(images), model(images), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of executorch about itself
@pytest.mark.parametrize("name", MODELS)
def test_executorch_runs_the_model(name: str, saved: Path, tmp_path: Path) -> None:
    pytest.importorskip("executorch")
    from executorch.runtime import Runtime

    made = export_model(saved / name, "executorch", tmp_path / "out")
    forward = Runtime.get().load_program(made.path / "model.pte").load_method("forward")
    image = batches()[0]
    (logits,) = forward.execute([image])
    torch.testing.assert_close(logits, vitnas.load(saved / name)(image), rtol=0, atol=1e-4)


def test_int8_measures_what_it_does_to_the_accuracy(int8_export: Any, saved: Path) -> None:
    notes = int8_export.notes
    assert notes["split"] == "test"
    assert notes["int8"]["images"] == notes["float32"]["images"] == 359
    assert notes["top1_change"] == notes["int8"]["top1"] - notes["float32"]["top1"]
    content = (int8_export.path / "model.onnx").read_bytes()
    assert b"MatMulInteger" in content
    images = torch.cat(batches())
    model, small = vitnas.load(saved / "vit"), int8.OnnxModel(content)
    difference = (small(images) - model(images)).abs().max().item()
    assert 0 < difference < 0.3 * model(images).abs().max().item()
    card = (int8_export.path / "README.md").read_text()
    assert f"int8 changes it by {notes['top1_change']:+.2f} points" in card
    config = json.loads((int8_export.path / "config.json").read_text())
    assert config["export"] == {"to": "int8", **notes}


def test_int8_names_a_broken_image_and_leaves_it_out_when_asked(
    saved: Path, tmp_path: Path
) -> None:
    for label in range(10):
        images = tmp_path / "images" / f"class{label}"
        images.mkdir(parents=True)
        for number in range(10):
            Image.new("L", (8, 8), label).save(images / f"{number}.png")
    name = f"folder/{tmp_path / 'images'}"
    test = open_data(name).test
    Path(test.source.where(int(test.indices[0]))).write_bytes(b"")
    with pytest.raises(InputError, match=r"can't read image .*; replace or delete it; "):
        export_model(saved / "vit", "int8", tmp_path / "out", data=name)
    assert not (tmp_path / "out").exists()
    made = export_model(saved / "vit", "int8", tmp_path / "out", data=name, skip_broken=True)
    assert made.notes["int8"]["images"] == len(test) - 1


def test_int8_accuracies_are_those_of_evaluate(int8_export: Any, saved: Path) -> None:
    from vitnas.cli import evaluate

    scores = evaluate(saved / "vit")
    assert int8_export.notes["float32"]["top1"] == scores.top1
    assert int8_export.notes["float32"]["loss"] == pytest.approx(scores.loss, rel=1e-5)


def test_a_half_precision_model_is_exported_in_float32(saved: Path, tmp_path: Path) -> None:
    model = vitnas.load(saved / "vit").to(torch.bfloat16)
    folder = vitnas.save(model, tmp_path / "half", classes=None)
    made = export_model(folder, "torch-export")
    program = torch.export.load(made.path / "model.pt2").module()
    image = batches()[0]
    torch.testing.assert_close(program(image), vitnas.load(folder).float()(image))


def wrong(run: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return what gives logits that are off by more than the tolerance."""
    return lambda images: torch.as_tensor(run(images)) + 2e-4


def test_an_onnx_file_with_other_logits_never_appears(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = vitnas.load(saved / "vit")
    monkeypatch.setattr(onnx_runtime, "export", lambda *args, **kwargs: b"")
    monkeypatch.setattr(onnx_runtime, "start", lambda content: wrong(model))
    with pytest.raises(InputError, match=r"differ from the model's by 0\.0002, more than 0\.0001"):
        export_model(saved / "vit", "onnx", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_logits_that_are_no_numbers_disagree(saved: Path) -> None:
    shipped = open_shipment(saved / "vit")
    with pytest.raises(InputError, match="by nan, more than"):
        agreement.check_agreement(shipped, lambda images: shipped.model(images) * float("nan"), "x")


def test_what_is_not_installed_is_said(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"onnx, onnxscript, onnxruntime not installed; `pip"):
        onnx_file.check_installed()
    monkeypatch.setattr(executorch_file, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"executorch is not installed; `pip install"):
        export_model(saved / "vit", "executorch")
    assert not (saved / "vit" / "exports").exists()


def test_a_model_too_large_for_onnx(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "LARGEST", 1000)
    with pytest.raises(InputError, match="GB of weights; ONNX files end at 2 GB"):
        onnx_file.onnx_bytes(open_shipment(saved / "vit"))


def test_a_program_of_one_image_is_static(saved: Path) -> None:
    made = torch_export.program(open_shipment(saved / "vit"), any_batch=False)
    assert not made.range_constraints
