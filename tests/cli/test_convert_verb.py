"""`vitnas convert`, and what can be done with what it makes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import vitnas
from interop.recorded import WIDE, case, write_checkpoint
from interop.recorded_nni import MMRAZOR, PAIR, SUPERNET
from interop.recorded_nni import case as nni_case
from interop.recorded_s3 import case as s3_case
from interop.recorded_vitas import case as vitas_case
from vitnas.folder import read_config
from vitnas.interop import cream, mmrazor, nni
from vitnas.interop.convert import SOURCES

from .calling import disk_of, files_in, refusal
from .conftest import Command
from .images import write_images

SIZES = "depth 3, embed_dim 128, num_classes 10"
S3, VITAS = "s3_b_shift7_56", "vitas_searched_noid"
SPACE = "family: autoformer\ndepth: [1, 2]\nembed_dim: [64]\nnum_heads: [1, 2]\nmlp_ratio: [2]\n"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """An official training checkpoint."""
    return write_checkpoint(tmp_path / "official.pth")


def test_a_supernet(checkpoint: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "config.json").write_text(json.dumps(case(WIDE).config))
    for words in ((), ("--config", tmp_path / "config.json")):
        folder = tmp_path / f"net{len(words)}"
        result = command("convert", checkpoint, folder, *words)
        assert (result.code, result.err) == (0, "")
        assert result.out == f"cream supernet written to {folder}: {SIZES}\n"
        assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
        assert read_config(folder)["provenance"]["file"] == "official.pth"


def test_a_subnet(checkpoint: Path, tmp_path: Path, command: Command) -> None:
    recorded = case(WIDE)
    arch = cream.arch(recorded.subnets[0])
    result = command("convert", checkpoint, tmp_path / "model", "--arch", arch.to_json())
    assert result.out.startswith(f"cream subnet written to {tmp_path / 'model'}: depth ")
    with torch.no_grad():
        logits = vitnas.load(tmp_path / "model")(recorded.tensors["input"])
    torch.testing.assert_close(logits, recorded.tensors["logits.0"], atol=2e-5, rtol=1e-5)


def test_a_converted_supernet_is_searched_after_it_was_given_a_space(
    checkpoint: Path, tmp_path: Path, command: Command
) -> None:
    (tmp_path / "mine.yaml").write_text(SPACE)
    classes = case(WIDE).config["num_classes"]
    data = ("--data", f"folder/{write_images(tmp_path / 'images', classes)}")
    assert command("convert", checkpoint, tmp_path / "plain").code == 0
    assert refusal(command("search", tmp_path / "plain", *data)) == (
        f"{tmp_path / 'plain'} is no supernet with a search space; `vitnas convert --space` gives "
        "one to a foreign supernet"
    )
    folder = tmp_path / "net"
    assert command("convert", checkpoint, folder, "--space", tmp_path / "mine.yaml").code == 0
    words = ("--strategy", "random", "--trials", "2", *data)
    assert command("search", folder, *words).code == 0
    assert command("extract", folder).code == 0
    assert read_config(folder / "models" / "random")["arch"]["genes"]["embed_dim"] == 64


STATES: dict[
    str, tuple[Callable[[], Any], str]
] = {  # the tensors of a recording, and what the command says of them
    "cream": (lambda: {"model": case(WIDE).weights}, "supernet"),
    "nni": (lambda: nni_case("nni_subnet_default").weights(), "model"),
    "nni supernet": (lambda: nni_case(SUPERNET).weights(), "supernet"),
    "mmrazor": (lambda: {"meta": {}, "state_dict": nni_case(MMRAZOR).weights()}, "supernet"),
    "s3": (lambda: {"model": {**s3_case(S3).weights, **s3_case(S3).buffers}}, "model"),
    "vitas": (lambda: {"model": vitas_case(VITAS).weights}, "model"),
}
CONFIGS = {"vitas": lambda: vitas_case(VITAS).config}  # its weights don't show numbers of heads


@pytest.mark.parametrize("name", STATES)
def test_the_source_is_recognised_and_named(name: str, tmp_path: Path, command: Command) -> None:
    state, kind = STATES[name]
    torch.save(state(), tmp_path / "net.pth")
    words: tuple[Any, ...] = ("convert", tmp_path / "net.pth", tmp_path / "net")
    if name in CONFIGS:
        (tmp_path / "config.json").write_text(json.dumps(CONFIGS[name]()))
        words += ("--config", tmp_path / "config.json")
    result = command(*words)
    source = name.partition(" ")[0]
    assert result.out.startswith(f"{source} {kind} written to {tmp_path / 'net'}: depth ")
    assert read_config(tmp_path / "net")["provenance"]["source"] == source


def test_a_training_checkpoint_says_what_its_shapes_cannot_show(
    tmp_path: Path, command: Command
) -> None:
    """With its arguments, weights without mean pooling give the official logits."""
    recorded = case("autoformer_cls_rel_cqkv_noabs_clip2")
    args = {"gp": False, "change_qkv": True, "input_size": recorded.config["img_size"]}
    args |= {"no_abs_pos": True, "relative_position": True}
    path = tmp_path / "checkpoint.pth"
    content = {"model": recorded.weights, "epoch": 3, "args": argparse.Namespace(**args, lr=0.1)}
    torch.save(content, path)
    assert command("convert", path, tmp_path / "net").code == 0
    net = vitnas.load(tmp_path / "net")
    for i, subnet in enumerate(recorded.subnets):
        with torch.no_grad():
            logits = net(recorded.tensors["input"], cream.arch(subnet))
        torch.testing.assert_close(logits, recorded.tensors[f"logits.{i}"], atol=2e-5, rtol=1e-5)
    torch.save({"model": recorded.weights}, path)
    told = refusal(command("convert", path, tmp_path / "other"))
    assert told == (
        "the weights have no pos_embed to read the image size from; give a config with img_size, "
        "and if the network never had positions, with abs_pos: false"
    )


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("to", ["nni", "cream", "mmrazor"])
def test_a_subnet_goes_to_another_system_and_back(
    to: str, suffix: str, tmp_path: Path, command: Command
) -> None:
    recorded = nni_case(MMRAZOR)
    arch = mmrazor.arch(recorded.metadata["subnets"][2]["exported"])
    torch.save(recorded.weights(), tmp_path / "net.pth")
    (tmp_path / "theirs.json").write_text(json.dumps(recorded.metadata["subnets"][2]["exported"]))
    out = tmp_path / f"subnet.{suffix}"
    subnet = ("--arch", tmp_path / "theirs.json")
    result = command("convert", tmp_path / "net.pth", out, *subnet, "--to", to)
    sizes = "depth 3, embed_dim 64, num_classes 7"
    assert result.out == f"mmrazor subnet written to {out} for {to}: {sizes}\n"
    assert ("no search space is known" in result.err) == bool(result.err) == (to == "mmrazor")
    beside = {"nni": "json"}.get(to, "yaml")
    made = {"net.pth", "theirs.json", out.name, "subnet.config.json", f"subnet.arch.{beside}"}
    assert {path.name for path in tmp_path.iterdir()} == made
    described = command("archs", tmp_path / f"subnet.arch.{beside}").out
    assert vitnas.Arch.from_json(described) == arch
    words: tuple[str | Path, ...] = ("--config", tmp_path / "subnet.config.json")
    words += ("--arch", tmp_path / f"subnet.arch.{beside}") if to == "cream" else ()
    assert command("convert", out, tmp_path / "back", *words).code == 0
    with torch.no_grad():
        logits = vitnas.load(tmp_path / "back")(recorded.tensors["input"])
    torch.testing.assert_close(logits, recorded.tensors["logits.2"], atol=2e-5, rtol=1e-5)


def test_a_model_folder_is_written_for_another_system(tmp_path: Path, command: Command) -> None:
    recorded = nni_case(SUPERNET)
    torch.save(recorded.weights(), tmp_path / "net.pth")
    assert command("convert", tmp_path / "net.pth", tmp_path / "net").code == 0
    assert command("convert", tmp_path / "net", tmp_path / "again.pth", "--to", "nni").code == 0
    again = torch.load(tmp_path / "again.pth", weights_only=True)
    assert again.keys() == recorded.weights().keys()
    assert all(torch.equal(again[key], recorded.weights()[key]) for key in again)
    told = refusal(command("convert", tmp_path / "net", tmp_path / "net2"))
    assert told == (
        f"{tmp_path / 'net'} is a model folder already; name the system to convert it to (--to)"
    )
    words = ("--to", "nni", "--source", "nni")
    told = refusal(command("convert", tmp_path / "net", tmp_path / "b.pth", *words))
    assert told.endswith("is a model folder, which needs neither source nor config")


def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path, command: Command) -> None:
    torch.save(nni_case(SUPERNET).weights(), tmp_path / "net.pth")
    before = files_in(tmp_path)
    with disk_of(100_000):
        result = command("convert", tmp_path / "net.pth", tmp_path / "out.pth", "--to", "mmrazor")
    assert refusal(result).startswith("the MMRazor AutoFormer can't hold this net: its patches are")
    with disk_of(100_000):
        result = command("convert", tmp_path / "net.pth", tmp_path / "out.pth", "--to", "nni")
    assert refusal(result) == f"can't write {tmp_path / 'out.pth'}: File too large"
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("to", ["nni", "cream"])
def test_a_loss_is_told_and_needs_agreement(to: str, tmp_path: Path, command: Command) -> None:
    recorded = nni_case(PAIR)
    states = {"nni": recorded.weights("official."), "cream": recorded.weights("nni_supernet.")}
    torch.save(states[to], tmp_path / "net.pth")
    before = files_in(tmp_path)
    words = ("convert", tmp_path / "net.pth", tmp_path / "out.pth", "--to", to)
    told = refusal(command(*words))
    assert "can't keep all of this supernet: subnets with fewer heads than the largest" in told
    assert told.endswith("or agree to the loss (--lossy yes; in Python lossy=True)")
    assert files_in(tmp_path) == before
    result = command(*words, "--lossy", "yes")
    assert result.code == 0
    assert f"lost in {tmp_path / 'out.pth'}: subnets with fewer heads" in result.err


def test_a_space_gives_the_other_systems_widths(tmp_path: Path, command: Command) -> None:
    recorded = nni_case(SUPERNET)
    torch.save(recorded.weights(), tmp_path / "net.pth")
    yaml = "family: autoformer\ndepth: [2]\nembed_dim: [48, 64]\nnum_heads: [1, 2]\n"
    (tmp_path / "mine.yaml").write_text(f"{yaml}mlp_ratio: [1.5, 2]\n")
    words = ("--to", "nni", "--space", tmp_path / "mine.yaml")
    result = command("convert", tmp_path / "net.pth", tmp_path / "cut.pth", *words)
    assert result.out.endswith("cut.pth for nni: depth 2, embed_dim 64, num_classes 7\n")
    config = json.loads((tmp_path / "cut.config.json").read_text())
    assert (config["search_embed_dim"], config["search_num_heads"]) == ([48, 64], [1, 2])
    net = nni.load(torch.load(tmp_path / "cut.pth", weights_only=True), config)
    assert isinstance(net, vitnas.Supernet)
    assert net.largest.embed_dim == 64


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("out.txt", "--to", "nni"), "can't write {tmp}/out.txt: a checkpoint's name ends in .pth, "
         ".pt, .safetensors"),
        (("net.pth", "--to", "nni"), "{tmp}/net.pth is there already; name a new file"),
        (("out.pth", "--to", "nmi"), "unknown checkpoint format 'nmi'; did you mean 'nni'? "
         f"(allowed: {', '.join(sorted(SOURCES))})"),
        (("out.pth", "--to", "s3"), "the official format holds static S3 models; extract one from "
         "a supernet"),
        (("out.pth", "--to", "cream", "--space", "autoformer-tiny"), "depth is 3, the space allows "
         "12, 13, 14"),
        (("net", "--source", "cream", "--config", "{tmp}/no.yaml"), "can't read {tmp}/no.yaml: No "
         "such file or directory"),
        (("net", "--source", "mmrazor"), "net.pth holds weights of nni, not of mmrazor"),
    ],
)  # fmt: skip
def test_refusals_of_targets_write_nothing(
    words: tuple[str, ...], message: str, tmp_path: Path, command: Command
) -> None:
    torch.save(nni_case("nni_subnet_default").weights(), tmp_path / "net.pth")
    before = files_in(tmp_path)
    target, *more = (word.format(tmp=tmp_path) for word in words)
    told = refusal(command("convert", tmp_path / "net.pth", tmp_path / target, *more))
    assert message.format(tmp=tmp_path) in told
    assert files_in(tmp_path) == before


def test_misfitting_weights_are_listed(tmp_path: Path, command: Command) -> None:
    weights = nni_case("nni_subnet_default").weights()
    del weights["blocks.1.fc2.bias"]
    weights["blocks.0.fc1.weight"] = weights["blocks.0.fc1.weight"].t().contiguous()
    torch.save(weights, tmp_path / "net.pth")
    assert refusal(command("convert", tmp_path / "net.pth", tmp_path / "net")) == (
        "not the official NNI AutoFormer of this config; missing: blocks.1.fc2.bias; wrong shape: "
        "blocks.0.fc1.weight is (64, 224), expected (224, 64)"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--source", "creem"), "unknown checkpoint source 'creem'; did you mean 'cream'? "
         f"(allowed: {', '.join(sorted(SOURCES))})"),
        (("--arch", "autoformer-tin"), "unknown architecture 'autoformer-tin'; did you mean "
         f"'autoformer-tiny'? (allowed: {', '.join(sorted(vitnas.archs()))})"),
        (("--arch", "autoformer-tiny"), "{tmp}/official.pth has no such subnet: embed of stem and "
         "head is 192, the supernet has 128"),
        (("--space", "autoformer-tiny"), "embed of stem and head is 192, the supernet has 128"),
        (("--config", "{tmp}/no.json"), "can't read {tmp}/no.json: No such file or directory"),
        *(
            (("--config", f"{{tmp}}/{name}"), f"{{tmp}}/{name} must map the original's arguments "
             "to values; to read them off the weights, leave --config out")
            for name in ("list.json", "empty.yaml", "null.json", "none.json")
        ),
        (("--lossy", "yes"), "a model folder keeps everything: --lossy is for --to SYSTEM"),
        (("--arch", "s3-tiny"), "{tmp}/official.pth has no such subnet: the supernet is of family "
         "autoformer, the architecture of s3"),
        (("--space", "s3-tiny"), "the supernet is of family autoformer, the space of s3"),
    ],
)  # fmt: skip
def test_refusals_write_nothing(
    words: tuple[str, ...], message: str, checkpoint: Path, tmp_path: Path, command: Command
) -> None:
    texts = {"list.json": "[1]", "empty.yaml": "", "null.json": "null", "none.json": "{}"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    before = files_in(tmp_path)
    given = [word.format(tmp=tmp_path) for word in words]
    result = command("convert", checkpoint, tmp_path / "net", *given)
    assert refusal(result) == message.format(tmp=tmp_path)
    assert files_in(tmp_path) == before
    assert not (tmp_path / "net").exists()
