"""Hub folders: loaded where vitnas can't be imported, and used by timm's conventions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import vitnas
from standalone import modeling
from vitnas import files
from vitnas.data.transforms import eval_transform
from vitnas.export import export_model, timm_entry, timm_hub
from vitnas.run import model_input

from .conftest import MODELS, save

BLOCK = {"num_heads": 2, "hidden_dim": 32}
ALONE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "vitnas":
            raise ImportError("vitnas is not here")

sys.meta_path.insert(0, Blocked())
import timm
import torch

images = torch.load(sys.argv[1], weights_only=True)
found = {}
for name in sys.argv[3:]:
    folder = f"{sys.argv[2]}/{name}"
    if name != "stock":
        sys.path.insert(0, folder)
        sys.modules.pop("modeling", None)
        import modeling

        own = modeling.load(folder)(images)
        sys.path.pop(0)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    found[name] = model(images)
    assert name == "stock" or torch.equal(own, found[name]), name
torch.save(found, f"{sys.argv[2]}/logits.pt")
assert "vitnas" not in sys.modules
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the hub folder of every tiny model; their model folders lie in `saved`."""
    folder = tmp_path_factory.mktemp("timm")
    for name in MODELS:
        export_model(save(name, folder / "saved" / name), "timm", folder / name)
    return folder


def create(folder: Path, **kwargs: Any) -> Any:
    """Create a model as timm would, with the architecture of a folder known to this process only.

    The registry of timm stays as it was, so that tests don't depend on their order.
    """
    config = json.loads((folder / "config.json").read_text())
    name = config["architecture"]
    entry = (
        timm.models.model_entrypoint(name)
        if name == timm_hub.STOCK
        else timm_entry.timm_entry(name, timm_hub.builder(name.removeprefix("vitnas_")))
    )
    cfg, _, args = timm.models._hub.load_model_config_from_path(folder)
    made: nn.Module = entry(
        pretrained=True, pretrained_cfg=cfg, pretrained_model_args=args, **{**args, **kwargs}
    )
    return made.eval()


def test_without_vitnas_the_logits_are_the_models(exported: Path, images: Tensor) -> None:
    torch.save(images, exported / "images.pt")
    words = [sys.executable, "-c", ALONE, str(exported / "images.pt"), str(exported), *MODELS]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = torch.load(exported / "logits.pt", weights_only=True)
    for name in MODELS:
        assert torch.equal(found[name], vitnas.load(exported / "saved" / name)(images)), name


@pytest.mark.parametrize("name", MODELS)
def test_the_folder_is_a_model_folder_too(name: str, exported: Path, images: Tensor) -> None:
    back, before = (vitnas.load(path / name) for path in (exported, exported / "saved"))
    assert torch.equal(back(images), before(images))
    assert (exported / name / "README.md").is_file()
    config = json.loads((exported / name / "config.json").read_text())
    assert config["weights"] == files.fingerprint(exported / name / "model.safetensors")


def test_only_what_timm_can_say_needs_no_file(exported: Path) -> None:
    names = {
        name: json.loads((exported / name / "config.json").read_text())["architecture"]
        for name in MODELS
    }
    assert names == {
        "vit": "vitnas_vit",
        "stock": "vit_base_patch16_224",
        "autoformer": "vitnas_autoformer",
        "s3": "vitnas_s3",
        "vitas": "vitnas_vitas",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"head_dim": 4},
        {"norm_eps": 1e-5},
        {"post_norm": True},
        {"relative_position": True},
        {"attn_dim": 16},
        {"blocks": [BLOCK, BLOCK, {**BLOCK, "num_heads": 1}]},
        {"blocks": [BLOCK, BLOCK, {**BLOCK, "hidden_dim": 16}]},
        {"blocks": [{**BLOCK, "attn_scale": 0.1}] * 3},
        {"blocks": [BLOCK, BLOCK]},
    ],
)
def test_what_timms_vit_cant_be_is_not_said_to_be(change: dict[str, Any], exported: Path) -> None:
    build = json.loads((exported / "stock" / "config.json").read_text())["build"]
    assert timm_hub.stock_args(build) is not None
    assert timm_hub.stock_args({**build, **change}) is None


@pytest.mark.parametrize("name", MODELS)
def test_timms_conventions(name: str, exported: Path, images: Tensor) -> None:
    model = create(exported / name)
    features = model.forward_features(images)
    assert torch.equal(model.forward_head(features), model(images))
    assert model.forward_head(features, pre_logits=True).shape == (2, model.num_features)
    assert model.get_classifier().out_features == model.num_classes == 10
    assert model.pretrained_cfg is model.default_cfg
    assert model.pretrained_cfg["input_size"] == (1, 8, 8)
    last, middle = model.forward_intermediates(images, indices=1)
    assert last.shape == features.shape
    assert len(middle) == 1
    if name != "s3":  # timm's Swin has no such method
        layers = model.get_intermediate_layers(images, n=2, return_prefix_tokens=True)
        assert len(layers) == 2
    model.reset_classifier(3)
    assert model(images).shape == (2, 3)
    model.reset_classifier(0)
    assert model(images).shape == (2, model.num_features)


@pytest.mark.parametrize("name", MODELS)
def test_features_only(name: str, exported: Path, images: Tensor) -> None:
    net = create(exported / name, features_only=True)
    maps = net(images)
    assert [one.shape[1] for one in maps] == net.feature_info.channels()
    assert [8 // one.shape[2] for one in maps] == net.feature_info.reduction()
    whole: Any = vitnas.load(exported / name)
    _, expected = whole.forward_intermediates(images)
    assert torch.equal(maps[-1], expected[-1])


@pytest.mark.parametrize("name", MODELS)
def test_arguments_of_timm(name: str, exported: Path, images: Tensor) -> None:
    made = create(exported / name, num_classes=3, in_chans=3, drop_path_rate=0.5, drop_rate=0.25)
    assert made(images.expand(-1, 3, -1, -1)).shape == (2, 3)
    rates = [m.drop_prob for m in made.modules() if type(m).__name__ == "DropPath"]
    assert max(rates) == 0.5
    assert 0.25 in [m.p for m in made.modules() if isinstance(m, nn.Dropout)]
    plain = create(exported / name)
    assert not [m for m in plain.modules() if type(m).__name__ == "DropPath"]


@pytest.mark.parametrize("name", ["vit", "autoformer", "vitas", "stock"])
def test_another_image_size_interpolates_positions(name: str, exported: Path) -> None:
    made = create(exported / name, img_size=16)
    assert made(torch.zeros(1, 1, 16, 16)).shape == (1, 10)
    assert made.pos_embed.shape[1] > create(exported / name).pos_embed.shape[1]


def test_images_are_prepared_alike(exported: Path) -> None:
    from PIL import Image

    config = timm.data.resolve_model_data_config(create(exported / "vit"))
    theirs = timm.data.create_transform(**config, is_training=False)
    ours = eval_transform(model_input(json.loads((exported / "vit" / "config.json").read_text())))
    image = Image.linear_gradient("L").resize((13, 9))
    assert torch.equal(theirs(image), ours(image))


def test_names_of_classes_come_along(exported: Path) -> None:
    config = json.loads((exported / "vit" / "config.json").read_text())
    assert config["label_names"] == [str(digit) for digit in range(10)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes_stay_in_the_file(dtype: torch.dtype, tmp_path: Path) -> None:
    model = vitnas.load(save("vit", tmp_path / "model")).to(dtype)
    made = export_model(vitnas.save(model, tmp_path / "other"), "timm").path
    assert next(vitnas.load(made).parameters()).dtype == dtype
    assert next(create(made).parameters()).dtype == torch.float32


def test_modeling_can_be_loaded_without_a_name_for_it(exported: Path, images: Tensor) -> None:
    module = modeling(exported / "s3")
    assert not timm.is_model("vitnas_s3")
    saved = vitnas.load(exported / "saved" / "s3")
    assert torch.equal(module.load(str(exported / "s3"))(images), saved(images))


def test_a_model_that_timm_would_change_is_refused(
    digits_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = timm_entry._timm_model

    def other(*args: Any, **kwargs: Any) -> nn.Module:
        made = before(*args, **kwargs)
        attention: Any = made.get_submodule("blocks.0.attn")
        attention.scale, attention.fused_attn = 2.0, False
        return made

    monkeypatch.setattr(timm_entry, "_timm_model", other)
    with pytest.raises(vitnas.InputError, match="the logits of timm's vitnas_vit differ"):
        export_model(digits_model, "timm")
    assert list((digits_model / "exports").iterdir()) == []
