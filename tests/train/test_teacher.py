from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from vitnas.data.transforms import Input
from vitnas.errors import InputError
from vitnas.train.recipe import Distillation
from vitnas.train.teacher import Teacher, load_teacher

IMAGES = torch.randn(4, 3, 160, 160, generator=torch.Generator().manual_seed(0))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def load(
    name: str,
    classes: int = 1000,
    *,
    mean: tuple[float, ...] = MEAN,
    size: tuple[int, int] = (160, 160),
) -> Teacher:
    return load_teacher(
        Distillation(teacher=name, pretrained=False),
        classes=classes,
        input=Input(size, mean=mean, std=STD),
        device=torch.device("cpu"),
    )


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The models that timm made, without class statistics at their initial values."""
    models: list[nn.Module] = []
    create = timm.create_model

    def spy(*args: object, **kwargs: object) -> nn.Module:
        torch.manual_seed(0)
        model: nn.Module = create(*args, **kwargs)
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5)
        models.append(model.train())
        return model

    monkeypatch.setattr(timm, "create_model", spy)
    return models


def test_it_is_in_evaluation_mode_and_has_no_gradient(made: list[nn.Module]) -> None:
    teach = load("test_resnet")
    (model,) = made
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    together = teach(IMAGES.requires_grad_())
    assert not together.requires_grad
    alone = torch.cat([teach(image[None]) for image in IMAGES])
    assert torch.allclose(together, alone, atol=1e-5)  # batch statistics would differ
    assert any("running_mean" in name for name in before)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert not any(p.requires_grad for p in model.parameters())


def test_images_are_converted_to_its_own_normalisation(made: list[nn.Module]) -> None:
    teach = load("test_vit2", mean=(0.0, 0.0, 0.0))
    (model,) = made
    config: Any = model.pretrained_cfg
    pixels = torch.rand(2, 3, *config["input_size"][1:])

    def normalised(mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
        return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)

    assert config["mean"] != (0.0, 0.0, 0.0)
    with torch.no_grad():
        expected = model(normalised(config["mean"], config["std"]))
    assert torch.allclose(teach(normalised((0.0, 0.0, 0.0), STD)), expected, atol=1e-4)


def test_names_and_classes_are_checked() -> None:
    with pytest.raises(InputError, match=r"unknown teacher 'regnety_16'; did you mean 'regnety_1"):
        load("regnety_16")
    with pytest.raises(InputError, match="teacher test_resnet knows 1000 classes, the data has 10"):
        load("test_resnet", classes=10)
    with pytest.raises(InputError, match="teacher test_vit2 can't take 8x8 images: Input height"):
        load("test_vit2", size=(8, 8))
    with pytest.raises(InputError, match="can't load teacher local-dir:nowhere: "):
        load("local-dir:nowhere")
