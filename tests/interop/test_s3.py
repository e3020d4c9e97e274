"""Official S3 networks: recorded logits, features, state and windows; descriptions and refusals."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import vitnas
from vitnas import zoo
from vitnas.errors import InputError
from vitnas.folder import read_config
from vitnas.interop import s3
from vitnas.models import family, make_config

from .recorded_s3 import NAMES, case

YAML = {
    "MLP_RATIO": [[4.0] * 2, [4.0] * 2, [4.0] * 8, [4.0] * 2],
    "NUM_HEADS": [[3] * 2, [6] * 2, [12] * 8, [24] * 2],
    "EMBED_DIM": [96, 192, 384, 768],
    "DEPTHS": [2, 2, 6, 2],
    "WINDOW_SIZE": [[7] * 2, [7] * 2, [14] * 8, [7] * 2],
}


@pytest.mark.parametrize("name", NAMES)
def test_recorded_logits(name: str) -> None:
    recorded = case(name)
    model = s3.load({**recorded.weights, **recorded.buffers}, recorded.config).eval()
    images, wanted = recorded.tensors["input"], recorded.tensors["logits"]
    with torch.no_grad():
        torch.testing.assert_close(model(images), wanted, atol=1e-5, rtol=0)
        double = model.double()(images.double())
    torch.testing.assert_close(double, recorded.tensors["logits_f64"], atol=1e-9, rtol=0)
    assert sum(p.numel() for p in model.parameters()) == int(recorded.metadata["n_params"])


@pytest.mark.parametrize("name", NAMES)
def test_recorded_features(name: str) -> None:
    """Of the first image; the original's tokens are in one row."""
    recorded = case(name)
    found: dict[str, Tensor] = {}
    model = s3.load(recorded.weights, recorded.config).eval()

    def keep(name: str) -> Any:
        return lambda module, given, result: found.__setitem__(name, result[:1].flatten(1, 2))

    names = [key.removeprefix("feat.") for key in recorded.tensors if key.startswith("feat.")]
    for theirs in names:
        ours = re.sub(
            r"layers\.(\d+)\.downsample", lambda m: f"layers.{int(m[1]) + 1}.downsample", theirs
        )
        model.get_submodule(ours).register_forward_hook(keep(theirs))
    with torch.no_grad():
        model(recorded.tensors["input"])
    assert names
    for theirs in names:
        wanted = recorded.tensors[f"feat.{theirs}"]
        torch.testing.assert_close(found[theirs], wanted, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_recorded_windows(name: str) -> None:
    recorded, s3_family = case(name), family("s3")
    arch = s3.arch(recorded.config)
    config = make_config(s3_family, arch, {"img_size": recorded.config["img_size"]})
    units = [u for u in s3_family.units(config, arch) if u.kind.role.startswith("block")]
    effective = [block for stage in recorded.read("effective_blocks") for block in stage]
    for unit, wanted in zip(units, effective, strict=True):
        setting, size = unit.kind.setting, unit.kind.size
        assert (setting["window"], setting["shift"]) == (wanted["window"], wanted["shift"])
        assert [setting["rows"], setting["cols"]] == wanted["resolution"]
        assert (size["heads"], size["hidden"]) == (wanted["heads"], wanted["mlp_hidden"])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_dumped_is_the_official_state(name: str) -> None:
    recorded = case(name)
    model = s3.load(recorded.weights, recorded.config)
    state = s3.dump(model)
    wanted = recorded.read("state_dict_keys")
    found = {key: [list(t.shape), str(t.dtype).removeprefix("torch.")] for key, t in state.items()}
    assert found == {
        key: [shape, dtype.removeprefix("torch.")] for key, (shape, dtype) in wanted.items()
    }
    for key, tensor in {**recorded.weights, **recorded.buffers}.items():
        assert torch.equal(state[key], tensor), key
    for key, summary in recorded.read("omitted_buffers").items():
        assert float(state[key].sum()) == summary["sum"]
        assert int(state[key].count_nonzero()) == summary["nonzero"]
    again = s3.load(
        state,
        s3.foreign(s3.arch(recorded.config))
        | {"img_size": recorded.config["img_size"], "num_classes": 10},
    )
    assert all(
        torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True)
    )


@pytest.mark.parametrize("given", [True, False])
def test_a_checkpoint_becomes_a_model_folder(given: bool, tmp_path: Path) -> None:
    recorded = case("s3_a_mixed64")
    path = tmp_path / "model.pth"
    torch.save({"model": {**recorded.weights, **recorded.buffers}}, path)
    config = recorded.config if given else None
    folder = vitnas.convert(path, tmp_path / "model", "s3", config=config)
    model = vitnas.load(folder)
    with torch.no_grad():
        logits = model(recorded.tensors["input"])
    torch.testing.assert_close(logits, recorded.tensors["logits"], atol=1e-5, rtol=0)
    provenance = read_config(folder)["provenance"]
    assert provenance["source"] == "s3"
    assert provenance["config"]["embed_dim"] == [32, 64, 96, 128]
    with pytest.raises(InputError, match="holds another network than the one named: "):
        vitnas.convert(path, tmp_path / "other", "s3", arch=zoo.arch("s3-tiny"))
    with pytest.raises(InputError, match="are one network, no supernet: leave the space out"):
        vitnas.convert(path, tmp_path / "other", "s3", space=vitnas.space("s3-tiny"))
    assert not (tmp_path / "other").exists()
    vitnas.convert(path, tmp_path / "same", "s3", arch=s3.arch(recorded.config), config=config)
    assert read_config(tmp_path / "same")["arch"] == read_config(folder)["arch"]


@pytest.mark.parametrize("name", NAMES)
def test_what_weights_say_of_themselves(name: str) -> None:
    """All but the configured windows, of which the effective ones show; ratios give the widths."""
    recorded = case(name)
    state = s3.dump(s3.load(recorded.weights, recorded.config))
    found = s3.infer_config(state)
    windows = [[b["window"] for b in row] for row in recorded.read("effective_blocks")]
    assert found["window_size"] == windows
    for field in ("img_size", "patch_size", "in_chans", "num_classes", "qkv_bias"):
        assert found[field] == recorded.config[field]
    for field in ("embed_dim", "depths", "num_heads"):
        assert found[field] == recorded.config[field]
    model = s3.load(state, found).eval()
    with torch.no_grad():
        logits = model(recorded.tensors["input"])
    torch.testing.assert_close(logits, recorded.tensors["logits"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["s3-tiny", "s3-small", "s3-base"])
def test_published_descriptions(name: str) -> None:
    arch = vitnas.arch(name)
    assert s3.arch(s3.foreign(arch)) == arch
    assert s3.foreign(arch)["embed_dim"] == [96, 192, 384, 768]


def test_extra_entries_of_a_list_are_left_out_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        assert s3.arch(YAML) == vitnas.arch("s3-tiny")
    for what in ("heads", "windows", "MLP ratios"):
        assert f"stage 3 lists 8 {what} for its 6 blocks; the rest has no effect" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"DEPTHS": "absent", "EMBED_DIM": "absent"}, "official S3 config: embed_dim, depths miss"),
        ({"ape": True}, "official S3 config: ape=True is not supported"),
        ({"qk_scale": 0.5}, "official S3 config: qk_scale=0.5 is not supported"),
        ({"windows": 1}, "unknown official S3 argument 'windows'; did you mean 'window_size'?"),
        ({"NUM_HEADS": 3}, "num_heads is 3; it is a list, one a stage"),
        (
            {"WINDOW_SIZE": [[7]] * 4},
            "window_size is ((7,), (7,), (7,), (7,)), it must be one list",
        ),
        ({"DEPTHS": [2, 2]}, "embed_dim is (96, 192, 384, 768), it must be 2 values, one a stage"),
    ],
)
def test_malformed_descriptions(change: dict[str, Any], message: str) -> None:
    record = {key: value for key, value in {**YAML, **change}.items() if value != "absent"}
    with pytest.raises(InputError, match=re.escape(message)):
        s3.arch(record)


def test_weights_that_do_not_fit_are_named() -> None:
    recorded = case("s3_b_shift7_56")
    weights, config = dict(recorded.weights), recorded.config
    with pytest.raises(InputError, match=r"wrong: .*fc1\.weight is \(128, 32\), expected"):
        s3.load(weights, {**config, "mlp_ratio": [[3, 2], [3.5, 1.5, 3]]})
    with pytest.raises(InputError, match=r"layers\.0\.blocks\.1\.attn_mask is \(4, 49, 49\), exp"):
        s3.load({**weights, **recorded.buffers}, {**config, "img_size": 112})
    turned = {key: index.T for key, index in recorded.buffers.items() if key.endswith("index")}
    with pytest.raises(InputError, match="relative_position_index holds other values than its win"):
        s3.load({**weights, **turned}, config)
    del weights["layers.0.downsample.norm.bias"]
    with pytest.raises(
        InputError, match=r"missing: layers\.0\.downsample\.norm\.bias; unexpected: x"
    ):
        s3.load({**weights, "x": torch.zeros(1)}, config)
    with pytest.raises(
        InputError, match=r"not official S3 weights: patch_embed\.proj\.weight miss"
    ):
        s3.infer_config({"x": torch.zeros(1)})
    with pytest.raises(InputError, match="no attn_mask to read the image size from; give a config"):
        s3.infer_config(recorded.weights)


def test_a_config_completes_what_the_weights_imply() -> None:
    recorded = case("s3_a_mixed64")
    state = {**recorded.weights, **recorded.buffers}
    images = recorded.tensors["input"]
    with torch.no_grad():
        for config in ({}, {"EMBED_DIM": recorded.config["embed_dim"]}):
            logits = s3.load(state, config).eval()(images)
            torch.testing.assert_close(logits, recorded.tensors["logits"], atol=1e-5, rtol=0)
    sizes = {"img_size": recorded.config["img_size"]}
    with pytest.raises(InputError, match=r"layers\.1\.blocks\.1\.attn_mask is .*, expected"):
        s3.load(state, {"img_size": 2 * sizes["img_size"]})
    with pytest.raises(InputError, match="give a config with img_size"):
        s3.load(recorded.weights, {"num_classes": 10})
    s3.load(recorded.weights, sizes)


def test_what_the_official_code_can_not_have_is_refused() -> None:
    with pytest.raises(InputError, match="has no autoformer architectures"):
        s3.foreign(vitnas.arch("autoformer-tiny"))
    with pytest.raises(InputError, match="has no gene head_dim, patch_size"):
        s3.foreign(vitnas.space("s3-nano").largest)
    net = vitnas.Supernet(vitnas.space("s3-digits"), 10, 8, in_chans=1)
    with pytest.raises(InputError, match="holds static S3 models; extract one from a supernet"):
        s3.dump(net)
    message = r"can't run layers\.0\.blocks\.0: its q-k-v width must be the embed_dim, 24, in heads"
    with pytest.raises(InputError, match=message):
        s3.dump(net.extract(net.largest))
