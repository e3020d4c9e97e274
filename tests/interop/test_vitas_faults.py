"""Official ViTAS weights without a config: what is wrong with them is named.

Of networks whose numbers of heads are known, the published ones and the official supernets.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

import vitnas
from vitnas.errors import InputError
from vitnas.interop import vitas
from vitnas.interop.originals import recognise

from .damage import damaged, groups
from .recorded_vitas import STEM, supernet_shapes

NETWORKS = ["vitas-a", "vitas-b", "vitas-c", "vitas-e", "vitas-f"]
SUPERNETS = {
    "supernet of vitas-a": ((14, 16, 32), 384, 1440, 1440, 16, 4, 2, 224),
    "supernet of vitas-c": ((16,), 384, 1440, 1440, 12, 4, 2, 224),
}
DAMAGED = ["vitas-a", "vitas-c", "supernet of vitas-a"]


@cache
def state(name: str) -> dict[str, Tensor]:
    """Return the official state of a net, zeros that take no memory."""
    if name in SUPERNETS:
        shapes = dict(supernet_shapes(*SUPERNETS[name]))
        if name.endswith("c"):
            shapes = {key.replace("Block_id", "Block_Block"): one for key, one in shapes.items()}
    else:
        with torch.device("meta"):
            whole = vitas.dump(vitnas.build(vitnas.arch(name), num_classes=10))
        shapes = {key: tuple(tensor.shape) for key, tensor in whole.items()}
    return {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}


def refusal(part: dict[str, Tensor]) -> str:
    """Return what is said of weights when they are converted without a config."""
    assert recognise(part) == "vitas"
    with pytest.raises(InputError) as refused:
        vitas.load(part, vitas.infer_config(part))
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("name", [*NETWORKS, *SUPERNETS])
def test_whole_ones_are_known(name: str) -> None:
    config = vitas.infer_config(state(name))
    if name in NETWORKS:
        assert vitas.arch(config) == vitnas.arch(name)
    else:
        assert config["backbone"]["Block"][2] == [3, 6, 12, 16]


@pytest.mark.parametrize("how", ["removed", "renamed", "extra", "transposed"])
@pytest.mark.parametrize("name", DAMAGED)
def test_every_single_fault_is_named(name: str, how: str) -> None:
    tried = 0
    for key, part in damaged(state(name), how):
        if "backbone_Block" not in key or "_2.0." in key:
            said = refusal(part)
            assert key in said, how
            assert len(said) < 350
            tried += 1
    assert tried >= (6 if how == "transposed" else 20)


@pytest.mark.parametrize("name", DAMAGED)
def test_every_group_that_is_missing_is_named(name: str) -> None:
    for names in groups(state(name)).values():
        if len(names) < len(state(name)):
            said = refusal({key: one for key, one in state(name).items() if key not in names})
            assert any(key in said for key in names), names


@pytest.mark.parametrize("name", DAMAGED)
def test_tensors_with_too_few_dimensions_are_named(name: str) -> None:
    for key in state(name):
        if "backbone_Block" not in key or "_2.0." in key:
            for wrong in (torch.tensor(1.0), torch.zeros(3)):
                said = refusal({**state(name), key: wrong})
                assert f"{key} is {tuple(wrong.shape)}" in said


@pytest.mark.parametrize("name", [*NETWORKS, *SUPERNETS])
def test_a_lost_block_is_named_also_the_last_one(name: str) -> None:
    blocks = {key.rpartition(".0.")[0] for key in state(name) if "backbone_Block" in key}
    for block in blocks:
        lost = {key: one for key, one in state(name).items() if not key.startswith(f"{block}.")}
        said = refusal(lost)
        assert f"missing: {block}.0." in said
        assert f"; the others are as in {'the ' if name in SUPERNETS else ''}{name}: of ano" in said


def test_a_lost_stem_is_named() -> None:
    whole = state("supernet of vitas-a")
    for stem in range(3):
        part = {key: one for key, one in whole.items() if f"{STEM}.{stem}." not in key}
        assert f"missing: {STEM}.{stem}.cls_token, " in refusal(part)


def test_values_that_are_not_finite_are_named_however_many() -> None:
    broken = {key: one * torch.nan for key, one in state("vitas-a").items()}
    said = refusal(broken)
    assert "net.backbone_Block_Block_0.0.attn.proj.bias has values that are not finite" in said


def test_what_is_near_no_known_net_needs_the_yaml() -> None:
    arch = vitnas.arch("vitas-c")
    for other in (
        arch.replace(embed_dim=200),
        arch.replace(attn_dim=(96,) * 12, mlp_dim=(9,) * 12),
    ):
        part = vitas.dump(vitnas.build(other, num_classes=10))
        assert "don't show the numbers of heads, and these are of no published" in refusal(part)
    stem = {key: one for key, one in state("vitas-a").items() if "backbone_Block" not in key}
    assert "not official ViTAS weights: net.backbone_Block_Block_0.0.norm1.weight" in refusal(stem)


def test_any_official_name_tells_whose_weights_these_are() -> None:
    for key in state("vitas-a"):
        assert recognise([f"module.{key}", "x"]) == "vitas"
    part = {f"module.{key}": one for key, one in state("vitas-a").items()}
    assert "unexpected: x; the others are as in vitas-a: of another net, give" in refusal(
        {**part, "x": torch.zeros(1)}
    )
