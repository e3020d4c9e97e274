"""From system to system and back: bit for bit where nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import vitnas
from vitnas.arch import Arch
from vitnas.interop import cream, mmrazor, nni
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet

from .recorded import NAMES, case

SEPARATE = [name for name in NAMES if case(name).config["change_qkv"]]


@pytest.mark.parametrize("name", SEPARATE)
@pytest.mark.parametrize("i", range(3))
def test_official_subnets_through_nni_and_back(name: str, i: int) -> None:
    recorded = case(name)
    net = cream.load(recorded.weights, recorded.config).eval()
    arch, images = cream.arch(recorded.subnets[i]), recorded.tensors["input"]
    model = net.extract(arch)
    theirs = nni.load(nni.dump(model), nni.arguments(model)).eval()
    back = cream.load(cream.dump(theirs), cream.arguments(theirs)).eval()
    with torch.no_grad():
        logits = net(images, arch)
        torch.testing.assert_close(logits, recorded.tensors[f"logits.{i}"], atol=2e-5, rtol=1e-5)
        assert torch.equal(theirs(images), logits)
        assert torch.equal(back(images, arch), logits)


@pytest.mark.parametrize("name", SEPARATE)
def test_official_supernets_of_all_heads_through_nni_and_back(name: str) -> None:
    """The weights themselves come back: all that NNI leaves out are tables beyond the grid."""
    recorded = case(name)
    config = recorded.config
    all_heads = Space(
        "autoformer",
        (
            Choice("depth", tuple(range(1, config["depth"] + 1))),
            Choice("mlp_ratio", (1.0, config["mlp_ratio"]), "block"),
            Choice("num_heads", (config["num_heads"],), "block"),
            Choice("embed_dim", (64, config["embed_dim"])),
        ),
    )
    net = cream.load(recorded.weights, config, all_heads)
    middle = nni.load(nni.dump(net), nni.arguments(net), all_heads)
    back = cream.dump(middle)
    assert back.keys() == recorded.weights.keys()
    for key, tensor in back.items():
        wanted = recorded.weights[key]
        if "rel_pos" in key:
            reach, grid = len(wanted) // 2 - 1, config["img_size"] // config["patch_size"]
            seen = range(1 - grid, grid)
            rows = [0, *(max(-reach, min(d, reach)) + reach + 1 for d in seen)]
            assert torch.equal(tensor[[0, *(d + grid + 1 for d in seen)]], wanted[rows]), key
        else:
            assert torch.equal(tensor, wanted), key


widths = st.sampled_from((24, 40, 72))
options = st.fixed_dictionaries(
    {
        "abs_pos": st.booleans(),
        "relative_position": st.booleans(),
        "qkv_bias": st.booleans(),
        "pool": st.sampled_from(("avg", "token")),
        "in_chans": st.integers(1, 3),
        "num_classes": st.sampled_from((0, 5)),
        "max_relative_position": st.integers(1, 5),
    }
)


@st.composite
def archs(draw: st.DrawFn) -> Arch:
    depth = draw(st.integers(1, 3))
    ratios, heads = st.sampled_from((0.5, 1, 1.7, 3.5)), st.integers(1, 3)
    return Arch(
        "autoformer",
        depth=depth,
        mlp_ratio=[draw(ratios) for _ in range(depth)],
        num_heads=[draw(heads) for _ in range(depth)],
        embed_dim=draw(widths),
    )


def randomised(net: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net.eval()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(archs(), options, st.booleans(), st.booleans())
def test_any_static_model(arch: Arch, given: dict[str, Any], post: bool, scaled: bool) -> None:
    """Also with norms after the sums, and another scale, which the official code lacks."""
    if post:
        given = {**given, "post_norm": True, "final_norm": False}
    if scaled:
        given = {**given, "qk_scale": 0.2}
    size = {"img_size": 16, "patch_size": 4}
    model = randomised(vitnas.build(arch, **size, **given))
    images = torch.randn(2, given["in_chans"], 16, 16)
    theirs: Any = nni.load(nni.dump(model), nni.arguments(model)).eval()
    assert Arch.from_dict(theirs.vitnas_config["arch"]) == arch
    with torch.no_grad():
        assert torch.equal(theirs(images), model(images))
        if not scaled:
            whole = cream.load(cream.dump(model), cream.arguments(model)).eval()
            assert torch.equal(whole(images, arch), model(images))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(archs(), options, st.booleans())
def test_any_supernet_through_nni(arch: Arch, given: dict[str, Any], legacy: bool) -> None:
    heads, ratio = max(arch.num_heads), max(arch.mlp_ratio)
    layers = (arch.depth,) * 2
    largest = arch.replace(num_heads=(heads,) * layers[0], mlp_ratio=(ratio,) * layers[1])
    sharing = "legacy" if legacy else "prefix"
    size: dict[str, Any] = {"img_size": 16, "patch_size": 4}
    net = Supernet(None, sharing=sharing, largest=largest, **size, **given)
    randomised(net)
    loses = legacy and given["qkv_bias"] and heads > 1
    assert bool(nni.lost(net)) == loses
    back = nni.load(nni.dump(net, lossy=True), nni.arguments(net)).eval()
    images = torch.randn(1, given["in_chans"], 16, 16)
    with torch.no_grad():
        assert torch.equal(back(images, largest), net(images, largest))
        if not loses:
            assert torch.equal(back(images, arch), net(images, arch))


def test_three_systems_in_a_row() -> None:
    """At 16 pixels a patch, which is all that MMRazor has."""
    arch = Arch("autoformer", depth=2, mlp_ratio=(2, 1.5), num_heads=(1, 3), embed_dim=80)
    model = randomised(vitnas.build(arch, 5, 64))
    found: Any = model
    for system in (mmrazor, nni, mmrazor):
        found = system.load(system.dump(found), system.arguments(found)).eval()
    official = cream.load(cream.dump(found), cream.arguments(found)).eval()
    last = nni.load(nni.dump(official.extract(arch)), {}).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        logits = model(images)
        assert torch.equal(official(images, arch), logits)
        assert torch.equal(last(images), logits)
