"""`vitnas evaluate NAME --weights FILE`: official weights, images prepared as by their authors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as image_ops

import vitnas
from interop.recorded import case
from interop.recorded_nni import MMRAZOR
from interop.recorded_nni import case as nni_case
from interop.recorded_s3 import case as s3_case
from interop.recorded_vitas import case as vitas_case
from vitnas import zoo
from vitnas.data.sources import open_data
from vitnas.folder import read_config
from vitnas.interop import cream, mmrazor, nni, s3, vitas
from vitnas.interop.convert import read_net

from .calling import files_in, refusal
from .conftest import Command

CREAM, S3, VITAS = "autoformer_gp_rel_cqkv_abs_mlp4", "s3_b_shift7_56", "vitas_searched_noid"
BICUBIC, BILINEAR = InterpolationMode.BICUBIC, InterpolationMode.BILINEAR


def folder_of_images(path: Path, classes: int) -> str:
    """Six coloured images of 100 × 130 for each class, without test images of their own."""
    draw = np.random.default_rng(0)
    for label in range(classes):
        (path / f"class{label:02}").mkdir(parents=True)
        for number in range(6):
            pixels = draw.integers(0, 256, (5, 6, 3), dtype=np.uint8)
            image = Image.fromarray(pixels).resize((130, 100), Image.Resampling.BICUBIC)
            image.save(path / f"class{label:02}" / f"{number}.png")
    return f"folder/{path}"


def net(name: str) -> tuple[Any, Any, Any, InterpolationMode]:
    """A checkpoint's content, the architecture, the official config and the way of resizing."""
    if name == "cream":
        found = case(CREAM)
        return {"model": found.weights}, cream.arch(found.subnets[1]), None, BICUBIC
    if name == "nni":
        recorded = nni_case("nni_subnet_default")
        return recorded.weights(), nni.arch(recorded.metadata["arch"]), None, BICUBIC
    if name == "mmrazor":
        recorded = nni_case(MMRAZOR)
        arch = mmrazor.arch(recorded.metadata["subnets"][2]["exported"])
        return {"state_dict": recorded.weights()}, arch, None, BICUBIC
    if name == "s3":
        official = s3_case(S3)
        state = official.weights | official.buffers
        return {"model": state}, s3.arch(official.config), None, BICUBIC
    searched = vitas_case(VITAS)
    return {"model": searched.weights}, vitas.arch(searched.config), searched.config, BILINEAR


def loss_by_hand(model: Any, images: str, size: int, short: int, mode: InterpolationMode) -> float:
    """Mean cross-entropy of the test images, each resized, cropped and normalised on its own."""
    held = open_data(images).test
    batch = torch.stack(
        [
            image_ops.normalize(
                image_ops.to_tensor(
                    image_ops.center_crop(image_ops.resize(image, short, mode), [size, size])
                ),
                [0.485, 0.456, 0.406],
                [0.229, 0.224, 0.225],
            )
            for image, _ in (held[i] for i in range(len(held)))
        ]
    )
    with torch.no_grad():
        logits = model(batch)
    return float(torch.nn.functional.cross_entropy(logits, torch.as_tensor(held.labels)))


@pytest.mark.parametrize("name", ["cream", "nni", "mmrazor", "s3", "vitas"])
def test_a_checkpoint_is_evaluated_as_its_authors_do(
    name: str, tmp_path: Path, command: Command
) -> None:
    content, arch, config, mode = net(name)
    weights = tmp_path / "official.pth"
    torch.save(content, weights)
    (tmp_path / "config.json").write_text(json.dumps(config))
    found, _ = read_net(weights, config=config)
    model: Any = found.extract(arch) if isinstance(found, vitnas.Supernet) else found
    options = model.vitnas_config["options"]
    images = folder_of_images(tmp_path / "images", options["num_classes"])
    before = files_in(tmp_path)
    words = ("--config", tmp_path / "config.json") if config else ()
    given = ("--weights", weights, *words, "--data", images)
    result = command("evaluate", arch.to_json(), *given)
    assert (result.code, result.err) == (0, "")
    size = options["img_size"][0]
    short = int(size * (248 if name == "mmrazor" else 256) / 224)
    told = re.search(r"loss ([\d.]+) \((\d+) images", result.out)
    assert told is not None
    assert int(told[2]) == len(open_data(images).test)
    assert float(told[1]) == pytest.approx(
        loss_by_hand(model.eval(), images, size, short, mode), abs=1e-3
    )
    assert result.out.startswith(f"{name} weights; images are resized ({mode.value})")
    assert files_in(tmp_path) == before


def test_a_converted_model_keeps_the_transform_of_its_authors(
    tmp_path: Path, command: Command
) -> None:
    content, arch, _, _ = net("mmrazor")
    torch.save(content, tmp_path / "net.pth")
    assert command("convert", tmp_path / "net.pth", tmp_path / "net").code == 0
    assert read_config(tmp_path / "net")["input"]["crop_pct"] == pytest.approx(224 / 248)
    words = ("--weights", tmp_path / "net.pth")
    classes = read_config(tmp_path / "net")["options"]["num_classes"]
    images = folder_of_images(tmp_path / "images", classes)
    model = tmp_path / "model"
    subnet = ("--arch", arch.to_json())
    assert command("convert", tmp_path / "net.pth", model, *subnet).code == 0
    alone = command("evaluate", model, "--data", images).out
    named = command("evaluate", arch.to_json(), *words, "--data", images).out
    folder = ("--weights", tmp_path / "net", "--data", images)
    from_folder = command("evaluate", arch.to_json(), *folder).out
    figures = [re.search(r"top-1 .* \(\d+ images", out) for out in (alone, named, from_folder)]
    assert len({found[0] for found in figures if found}) == 1


def test_a_folder_of_test_images_alone(tmp_path: Path, command: Command) -> None:
    """As who has ImageNet's validation images only."""
    content, arch, _, _ = net("nni")
    torch.save(content, tmp_path / "net.pth")
    images = folder_of_images(tmp_path / "all" / "val", 7).removesuffix("/val")
    words = ("evaluate", arch.to_json(), "--weights", tmp_path / "net.pth", "--data", images)
    result = command(*words)
    assert (result.code, result.err) == (0, "")
    assert "(42 images" in result.out
    assert command("convert", tmp_path / "net.pth", tmp_path / "net").code == 0
    assert "(42 images" in command("evaluate", tmp_path / "net", "--data", images).out
    assert refusal(command(*words, "--split", "search")).endswith(
        "has val but no train folder; add it"
    )


def test_part_of_the_images_is_no_published_figure(tmp_path: Path, command: Command) -> None:
    net = vitnas.build(zoo.arch("autoformer-tiny"), num_classes=2)
    torch.save(nni.dump(net), tmp_path / "net.pth")
    images = folder_of_images(tmp_path / "val", 2)
    words = ("evaluate", "autoformer-tiny", "--weights", tmp_path / "net.pth", "--data")
    assert command(*words, images).err == (
        f"{images} has no test images of its own, and published figures are of all; this is 20% of "
        f"each class of every image of {tmp_path / 'val'}, the same for every seed\n"
    )
    assert command(*words, images.removesuffix("/val")).err == ""
    small = refusal(command("evaluate", "autoformer-small", *words[2:], images))
    assert small == (
        f"{tmp_path / 'net.pth'} holds another network than the one named: its mlp_ratio[0] is "
        "3.5, not 3, num_heads[0] is 3, not 6, embed_dim is 192, not 384"
    )


def test_refusals(tmp_path: Path, command: Command) -> None:
    content, _, _, _ = net("nni")
    torch.save(content, tmp_path / "net.pth")
    given = ("--weights", tmp_path / "net.pth")
    images = folder_of_images(tmp_path / "images", 3)
    for words, message in (
        (("autoformer-tiny",), "autoformer-tiny is an architecture; give the file of its weights "
         "(--weights)"),
        (("autoformer-tiny", *given), "weights don't say what data they are for; give --data"),
        (("autoformer-tiny", "--config", tmp_path / "a.json"), "--config is for the checkpoint "
         "that --weights names; give that, too"),
        (("autoformer-tny", *given, "--data", images), "unknown architecture 'autoformer-tny'"),
        (("autoformer-tiny", "--weights", tmp_path / "no.pth", "--data", images), "there is no "
         f"checkpoint {tmp_path / 'no.pth'}"),
        (("autoformer-tiny", *given, "--data", images), f"{tmp_path / 'net.pth'} holds another "
         "network than the one named: "),
        (("vitas-a", *given, "--data", images), f"{tmp_path / 'net.pth'} holds another network "
         "than the one named: "),
    ):  # fmt: skip
        assert refusal(command("evaluate", *words)).startswith(message)
    arch = nni.arch(nni_case("nni_subnet_default").metadata["arch"])
    told = refusal(command("evaluate", arch.to_json(), *given, "--data", images))
    assert told.endswith("fine-tune it on this data first")
