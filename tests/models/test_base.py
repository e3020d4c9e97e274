"""Configs, kinds and the judgement of genes that all families share."""

from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys
from functools import partial
from typing import Any

import pytest

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.models import Config, Kind, family, make_config
from vitnas.models.base import check_genes

VIT = family("vit")
ARCH = Arch("vit", depth=2, mlp_ratio=(2, 3), num_heads=(1, 2), embed_dim=32)


def test_img_size_is_a_number_or_a_pair() -> None:
    assert make_config(VIT, ARCH, {"img_size": 32}).img_size == (32, 32)
    assert make_config(VIT, ARCH, {"img_size": [160, 224]}).grid == (10, 14)


def test_genes_fix_options_of_their_name() -> None:
    arch = ARCH.replace(head_dim=16, patch_size=4)
    config = make_config(VIT, arch, {"img_size": 8})
    assert (config.head_dim, config.patch_size) == (16, 4)
    assert make_config(VIT, arch, {"img_size": 8, "patch_size": 4}) == config
    with pytest.raises(InputError, match="patch_size is 8, but the architecture has 4"):
        make_config(VIT, arch, {"img_size": 8, "patch_size": 8})


def test_the_options_round_trip_through_json_types() -> None:
    config = make_config(family("autoformer"), ARCH, {"img_size": (32, 48), "num_classes": 3})
    back = make_config(family("autoformer"), ARCH, {**config.to_dict(), "img_size": [32, 48]})
    assert back == config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"img_sise": 32}, "unknown vit option 'img_sise'; did you mean 'img_size'?"),
        ({"img_size": None}, "img_size is None; it is one whole number, or height and width"),
        ({"img_size": "224"}, "img_size is '224'; it is one whole number"),
        ({"img_size": (32, 32, 3)}, "img_size is (32, 32, 3); it is one whole number"),
        ({"img_size": (32.0, 32)}, "img_size is (32.0, 32); it is one whole number"),
        ({"img_size": 0}, "img_size 0x0 and in_chans 3 must be positive"),
        ({"patch_size": 0}, "patch_size is 0; it must be positive"),
        ({"img_size": (32, 40)}, "32x40 is no multiple of patch_size 16; 32x48 would be"),
        ({"num_classes": -1}, "num_classes -1, img_size"),
        ({"num_classes": "37"}, "num_classes is '37'; it must be a whole number"),
        ({"num_classes": True}, "num_classes is True; it must be a whole number"),
        ({"in_chans": 1.5}, "in_chans is 1.5; it must be a whole number"),
        ({"drop_path_rate": "0.1"}, "drop_path_rate is '0.1'; it must be a number"),
        ({"drop_path_rate": 1}, "drop_path_rate is 1; it must be in [0, 1)"),
        ({"drop_path_rate": float("nan")}, "drop_path_rate is nan; it must be in [0, 1)"),
        ({"qkv_bias": "no"}, "qkv_bias is 'no'; it must be true or false"),
        ({"pool": "max"}, "pool is 'max'; it is 'token' or 'avg'"),
        ({"class_token": False}, "pool 'token' needs class_token"),
        ({"head_dim": 0}, "head_dim 0 must be positive"),
        ({"reg_tokens": -1}, "reg_tokens -1 not negative"),
    ],
)
def test_refused_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        make_config(VIT, ARCH, options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_relative_position": 0}, "max_relative_position is 0; it must be at least 1"),
        ({"reg_tokens": 1}, "relative_position needs a class token and no register tokens"),
        ({"class_token": False}, "relative_position needs a class token"),
        ({"qk_norm": True}, "qk_norm needs relative_position off and no fixed_attn_dim"),
        ({"relative_position": 1}, "relative_position is 1; it must be true or false"),
        ({"qk_scale": 0}, "qk_scale is 0; it must be a positive number"),
        ({"qk_scale": "0.3"}, "qk_scale is '0.3'; it must be a positive number"),
        ({"qk_scale": 0.3, "fixed_attn_dim": 64}, "qk_scale needs qk_norm off and no fixed_attn"),
    ],
)
def test_refused_autoformer_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_config(family("autoformer"), ARCH, options)


def test_a_fixed_width_must_be_divisible() -> None:
    model = family("autoformer")
    config = make_config(model, ARCH, {"fixed_attn_dim": 33, "relative_position": False})
    with pytest.raises(InputError, match="2 heads don't fit the fixed q-k-v width 33"):
        model.units(config, ARCH)
    config = make_config(model, ARCH, {"fixed_attn_dim": 64})
    with pytest.raises(InputError, match="2 heads don't fit the fixed q-k-v width 64"):
        model.units(config, ARCH)


def test_the_drop_path_ramp_ends_at_the_largest_depth() -> None:
    config = Config(drop_path_rate=0.3, drop_path_depth=4)
    assert [config.drop_path(i, 2) for i in range(4)] == pytest.approx([0, 0.1, 0.2, 0.3])
    alone = Config(drop_path_rate=0.3)
    assert [alone.drop_path(i, 2) for i in range(2)] == pytest.approx([0, 0.3])
    assert alone.drop_path(0, 1) == 0


def test_a_kind_reads_as_mappings() -> None:
    kind = Kind("block", (("embed", 8), ("heads", 2)), (("drop_path", 0.1),))
    assert kind.size == {"embed": 8, "heads": 2}
    assert kind.setting == {"drop_path": 0.1}


def test_equal_options_give_one_config() -> None:
    config = make_config(VIT, ARCH, {"num_classes": 3, "img_size": 32})
    assert make_config(VIT, ARCH, {"img_size": [32, 32], "num_classes": 3}) is config
    assert make_config(VIT, ARCH, config.to_dict()) is config
    assert make_config(VIT, ARCH, {"img_size": 32}) is not config


def test_options_keep_their_types_whatever_was_made_before() -> None:
    for rate in (0, 0.0, 0):
        config = make_config(VIT, ARCH, {"drop_path_rate": rate})
        assert repr(config.to_dict()["drop_path_rate"]) == repr(rate)


@pytest.mark.parametrize("value", [make_config(VIT, ARCH, {}), VIT.units(VIT.config(), ARCH)[1]])
def test_keys_of_caches_hash_alike_in_another_process(value: Any) -> None:
    """The hash of text differs between processes, so a pickle must not carry it."""
    assert isinstance(hash(value), int)
    code = (
        "import pickle, sys\n"
        "value = pickle.load(sys.stdin.buffer)\n"
        "from vitnas.models import family\n"
        "from vitnas.arch import Arch\n"
        f"arch = Arch.from_json({ARCH.to_json()!r})\n"
        "config = family('vit').config()\n"
        "assert {value} & {config, family('vit').units(config, arch)[1]}"
    )
    run = partial(subprocess.run, [sys.executable, "-c", code], input=pickle.dumps(value))
    for seed in ("1", "2"):
        run(check=True, env={"PYTHONHASHSEED": seed})


def test_hashes_follow_equality() -> None:
    kinds = [
        Kind("block", (("embed", n),), (("drop_path", rate),)) for n in (8, 9) for rate in (0, 1)
    ]
    assert len({*kinds, *copy.deepcopy(kinds)}) == 4
    autoformer = family("autoformer")
    changed: list[dict[str, Any]] = [{}, {"max_relative_position": 3}]
    configs = [autoformer.config(**changes) for changes in changed]
    assert len({*configs, *copy.deepcopy(configs)}) == 2


GENES = VIT.genes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 1}, "width is no gene"),
        ({"depth": 0}, "depth is 0, it must be a whole number from 1"),
        ({"depth": "2"}, "depth is '2', it must be a whole number from 1"),
        ({"depth": 3}, "mlp_ratio has 2 values, the depth is 3; num_heads has 2 values"),
        ({"embed_dim": (32, 32)}, "embed_dim is (32, 32), it must be one value"),
        ({"num_heads": 2}, "num_heads is 2, it must be 2 values, one a layer"),
        ({"num_heads": (1, 1.5)}, "num_heads is (1, 1.5), it must be whole"),
        ({"num_heads": (1, "2")}, "num_heads is (1, '2'), it must be positive"),
        ({"mlp_ratio": (1, 0)}, "mlp_ratio is (1, 0), it must be positive"),
        ({"embed_dim": -8}, "embed_dim is -8, it must be positive"),
    ],
)
def test_malformed_genes(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        check_genes(GENES, VIT.optional, ARCH.replace(**changes))
    assert str(caught.value).startswith("vit architecture: ")


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(InputError) as caught:
        check_genes(GENES, VIT.optional, Arch("vit", depth=1, num_heads=(0,), wide=1))
    assert str(caught.value) == (
        "vit architecture: mlp_ratio is missing; embed_dim is missing; wide is no gene; "
        "num_heads is (0,), it must be positive"
    )


def test_a_ratio_must_leave_a_unit() -> None:
    config = make_config(VIT, ARCH, {})
    with pytest.raises(InputError, match=r"mlp_ratio 0\.01 of embed_dim 32 leaves no hidden unit"):
        VIT.units(config, ARCH.replace(mlp_ratio=(0.01, 1)))


def test_unknown_family() -> None:
    with pytest.raises(InputError, match="unknown model family 'autofromer'; did you mean"):
        family("autofromer")
