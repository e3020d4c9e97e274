"""Official ViTAS networks and supernets: recorded logits, their subnets, and refusals."""

from __future__ import annotations

import itertools
import random
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import vitnas
from vitnas import cost
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.interop import vitas
from vitnas.space import Choice, Space

from .recorded_vitas import (
    SEARCHED,
    SIDES,
    STEM,
    SUPERNETS,
    TOY,
    case,
    encoding,
    official_forward,
    rows,
    toy_state,
)


@pytest.mark.parametrize("name", SEARCHED)
def test_recorded_networks(name: str) -> None:
    recorded = case(name)
    model = vitas.load(recorded.weights, recorded.config).eval()
    with torch.no_grad():
        logits = model(recorded.tensors["input"])
    torch.testing.assert_close(logits, recorded.tensors["logits"], atol=1e-5, rtol=0)
    arch = vitas.arch(recorded.config)
    params = int(recorded.metadata["params"])
    assert sum(p.numel() for p in model.parameters()) == params
    assert cost.params(arch, **recorded.options) == params
    official = cost.convention("vitas", arch, **recorded.options)
    assert official == int(recorded.metadata["official_flops"])


@pytest.mark.parametrize("name", SEARCHED)
def test_recorded_layers(name: str) -> None:
    recorded = case(name)
    layers = recorded.read("layers")
    blocks = [layer for layer in layers if layer["op"] == "block"]
    arch = vitas.arch(recorded.config)
    slots = tuple(i for i, layer in enumerate(layers[1:-2]) if layer["op"] == "block")
    assert arch.get("slot", tuple(range(arch.depth))) == slots
    assert arch.patch_size == layers[0]["patch"]
    assert arch.embed_dim == layers[0]["dim"]
    assert arch.num_heads == tuple(block["heads"] for block in blocks)
    assert arch.attn_dim == tuple(block["qkv_out"] // 3 for block in blocks)
    assert arch.mlp_dim == tuple(block["mlp_hidden"] for block in blocks)
    model: Any = vitas.load(recorded.weights, recorded.config)
    for ours, theirs in zip(model.blocks, blocks, strict=True):
        scale = ours.attn.scale * ours.attn.q_norm.factor
        assert scale == pytest.approx(theirs["scale"], rel=1e-12)


@pytest.mark.parametrize("name", SUPERNETS)
def test_recorded_supernets(name: str) -> None:
    recorded = case(name)
    net: Any = vitas.load(recorded.weights, recorded.config, faithful=True).eval()
    assert sum(p.numel() for p in net.parameters()) == int(recorded.metadata["params"])
    assert net.config.attn_scale == float(recorded.metadata["attention_scale"])
    for subnet in recorded.read("subnets"):
        arch = vitas.arch(encoding(recorded, subnet), faithful=True)
        assert arch == vitas.arch(encoding(recorded, subnet, "subnet_c_percent_aligned"))
        blocks = [block for block in subnet["effective"]["blocks"] if block["op"] == "block"]
        assert arch.num_heads == tuple(block["heads"] for block in blocks)
        assert arch.attn_dim == tuple(block["head_channels_total"] for block in blocks)
        assert arch.mlp_dim == tuple(block["mlp_hidden"] for block in blocks)
        assert arch.embed_dim == subnet["effective"]["embed"]
        for side in SIDES:
            with torch.no_grad():
                logits = net(recorded.tensors["input"], arch, side=side)
            wanted = recorded.tensors[f"logits.{subnet['index']}.{side}"]
            torch.testing.assert_close(logits, wanted, atol=1e-5, rtol=0)
        meant = vitas.arch(encoding(recorded, subnet))
        for one, flops in ((meant, "official_flops"), (arch, "aligned_flops")):
            assert cost.convention("vitas", one, **recorded.options) == subnet[flops]


@pytest.mark.parametrize("name", SUPERNETS)
def test_recorded_losses(name: str) -> None:
    """BCNet's mode of the released code adds the logits of both sides; AutoSlim's has one side."""
    recorded = case(name)
    net = vitas.load(recorded.weights, recorded.config, faithful=True).eval()
    targets = recorded.tensors["soft_targets"]
    for subnet in recorded.read("subnets"):
        arch = vitas.arch(encoding(recorded, subnet), faithful=True)
        with torch.no_grad():
            left, right = (net(recorded.tensors["input"], arch, side=side) for side in SIDES)
        for mode, logits in (("bcnet", left + right), ("autoslim", left)):
            loss = F.cross_entropy(logits, targets)
            wanted = recorded.tensors[f"{mode}_loss.{subnet['index']}"].mean()
            torch.testing.assert_close(loss, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", SEARCHED + SUPERNETS)
def test_what_is_dumped_is_the_official_state(name: str) -> None:
    recorded = case(name)
    net = vitas.load(recorded.weights, recorded.config, faithful=True)
    state = vitas.dump(net)
    assert state.keys() == recorded.weights.keys()
    assert all(torch.equal(state[key], tensor) for key, tensor in recorded.weights.items())
    again = vitas.load(state, vitas.arguments(net), faithful=True)
    ours = net.state_dict()
    assert all(torch.equal(ours[key], tensor) for key, tensor in again.state_dict().items())


@pytest.mark.parametrize("faithful", [False, True])
@pytest.mark.parametrize("name", SUPERNETS)
def test_a_subnet_is_an_official_network(name: str, faithful: bool) -> None:
    """Its scale and its one position go into the weights of what the official code builds."""
    recorded = case(name)
    net: Any = vitas.load(recorded.weights, recorded.config, faithful=faithful).eval()
    images = recorded.tensors["input"]
    for subnet, side in itertools.product(recorded.read("subnets"), SIDES):
        arch = vitas.arch(encoding(recorded, subnet), faithful=True)
        model = net.extract(arch, side=side)
        official = vitas.load(vitas.dump(model), vitas.arguments(model)).eval()
        with torch.no_grad():
            torch.testing.assert_close(official(images), model(images), atol=3e-6, rtol=0)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("qkv", [0, 1, 2])
def test_other_widths_and_patterns_of_slots(qkv: int, side: str) -> None:
    """Against the official forward written down apart: ties (5.5, 16.5), all patterns of slots."""
    config, state = {**TOY, "heads_share": True, "qkv": qkv}, toy_state(qkv)
    net = vitas.load(state, config, faithful=True).eval().double()
    state = {name: tensor.double() for name, tensor in state.items()}
    rng, images = random.Random(qkv), torch.randn(2, 3, 16, 16, dtype=torch.float64)
    patterns = [p for p in itertools.product((True, False), repeat=3) if any(p)]
    compared = 0
    for pattern, patch in itertools.product(patterns, (0, 1)):
        heads = [rng.randrange(4) if there else 4 for there in pattern]
        ratios = [rng.choice((0.25, 0.75, 1.0)) for _ in range(7)]
        ratios[1::2] = [rng.choice((1 / 3, 2 / 3, 1.0)) for _ in range(3)]  # 3 and 4 heads fit
        ratios[2::2] = [rng.choice((0.25, 0.55, 0.75, 1.0)) for _ in range(3)]
        structure = [patch, *heads, 0, 0]
        given = {**config, "subnet_m": structure, "subnet_c_percent": ratios}
        arch = vitas.arch(given, faithful=True)
        if any(c % h for c, h in zip(arch.attn_dim, arch.num_heads, strict=True)):
            continue  # the official code can't run it
        with torch.no_grad():
            ours = net(images, arch, side=side)
        theirs = official_forward(state, config, structure, ratios, side, images)
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)
        compared += 1
    assert compared > len(patterns)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("faithful", [False, True])
@pytest.mark.parametrize("qkv", [0, 1, 2])
def test_a_subnet_of_any_pattern_is_an_official_network(
    qkv: int, faithful: bool, side: str
) -> None:
    """In double precision, so that only what is rounded in the official weights remains."""
    config, rng = {**TOY, "heads_share": True, "qkv": qkv}, random.Random(qkv)
    net: Any = vitas.load(toy_state(qkv), config, faithful=faithful).eval().double()
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    patterns = [p for p in itertools.product((True, False), repeat=3) if any(p)]
    for pattern, patch in itertools.product(patterns, (4, 8)):
        slots = tuple(slot for slot, there in enumerate(pattern) if there)
        heads = tuple(rng.choice((1, 2, 3, 4)) for _ in slots)
        genes: dict[str, Any] = {
            "num_heads": heads,
            "attn_dim": tuple(n * rng.randint(1, 12 // n) for n in heads),
            "mlp_dim": tuple(rng.choice((8, 17, 30)) for _ in slots),
            "embed_dim": rng.choice((5, 13, 22)),
            "patch_size": patch,
        }
        arch = Arch("vitas", depth=len(slots), slot=slots, **genes)
        model = net.extract(arch, side=side)
        official = vitas.load(vitas.dump(model), vitas.arguments(model)).eval().double()
        with torch.no_grad():
            wanted = net(images, arch, side=side)
            assert torch.equal(model(images), wanted)
            torch.testing.assert_close(official(images), wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("qkv", [0, 1, 2])
def test_a_supernet_is_right_unless_told_to_be_faithful(qkv: int) -> None:
    config, state = {**TOY, "heads_share": True, "qkv": qkv}, toy_state(qkv)
    right: Any = vitas.load(state, config).eval()
    faithful = vitas.load(state, config, faithful=True).eval()
    assert (right.config.attn_scale, right.config.joint_qk, right.config.last_position) == (
        *("head", False),
        False,
    )
    images = torch.randn(1, 3, 16, 16)
    genes: dict[str, Any] = {"num_heads": (3,), "attn_dim": (6,), "mlp_dim": (30,)}
    for patch in (4, 8):
        arch = Arch("vitas", depth=1, slot=(1,), embed_dim=22, patch_size=patch, **genes)
        flipped = images.unflatten(2, (-1, patch)).flip(2).flatten(2, 3)
        with torch.no_grad():
            assert (right(images, arch) - faithful(images, arch)).abs().max() > 1e-4
            assert (right(images, arch) - right(flipped, arch)).abs().max() > 1e-4
            torch.testing.assert_close(faithful(images, arch), faithful(flipped, arch))
    with pytest.raises(InputError, match="only what is extracted from it: joint_qk is False, not"):
        vitas.dump(right)


def test_what_fits_inside_of_a_supernet_runs_and_the_rest_is_refused() -> None:
    net = vitas.load(toy_state(2), {**TOY, "qkv": 2}, faithful=True).eval()
    images = torch.randn(1, 3, 16, 16)
    genes: dict[str, Any] = {"num_heads": (3, 4), "attn_dim": (9, 8), "mlp_dim": (1, 17)}
    arch = Arch("vitas", depth=2, slot=(0, 2), embed_dim=13, patch_size=8, **genes)
    assert net(images, arch).shape == (1, 5)
    for change, message in (
        (
            {"num_heads": (3, 8)},
            "attn.qkv.qk.weight is stored for heads=1; heads=2; heads=3; heads",
        ),
        ({"patch_size": 2}, "is stored for patch=4; patch=8, not for patch=2"),
        ({"embed_dim": 23}, "embed of stem and head is 23, the supernet has 22"),
        ({"mlp_dim": (1, 31)}, "hidden of blocks.2 is 31, the supernet has 30"),
        ({"slot": (0, 3)}, "the architecture has blocks.3, the supernet ends before it"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            net(images, arch.replace(**change))


def test_a_supernet_is_searched_in_a_space() -> None:
    space = Space(
        "vitas",
        (
            Choice("depth", (1, 2)),
            Choice("num_heads", (1, 3), "block"),
            Choice("attn_dim", (6, 12), "block"),
            Choice("mlp_dim", (8, 30), "block"),
            Choice("embed_dim", (11, 20)),
            Choice("patch_size", (4, 8)),
        ),
    )
    config = {**TOY, "qkv": 2}
    net = vitas.load(toy_state(2), config, space, faithful=True)
    assert isinstance(net, vitnas.Supernet)
    for arch in (space.smallest, space.largest, space.sample(0)):
        assert net(torch.randn(1, 3, 16, 16), arch, side="right").shape == (1, 5)
    assert vitas.dump(net).keys() == toy_state(2).keys()
    with pytest.raises(InputError, match="embed of stem and head is 44, the supernet has 22"):
        vitas.load(toy_state(2), config, space.with_values(embed_dim=[44]))
    model = case("vitas_searched_eps")
    with pytest.raises(InputError, match="weights of one network: leave the space out"):
        vitas.load(model.weights, model.config, space)


def test_the_released_scale_of_a_model_goes_into_its_queries() -> None:
    arch = Arch(
        "vitas",
        depth=2,
        slot=(1, 4),
        num_heads=(2, 3),
        attn_dim=(10, 9),
        mlp_dim=(8, 5),
        embed_dim=13,
        patch_size=8,
    )
    model = vitnas.build(arch, 5, 16, qkv=2).eval().double()
    state = vitas.dump(model)
    official = vitas.load(state, vitas.arguments(model)).eval().double()
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(official(images), model(images), atol=1e-7, rtol=0)
    queries = model.get_parameter("blocks.0.attn.qkv.qk.weight")[:10] * 5**-0.5 * 6**0.5
    torch.testing.assert_close(state["net.backbone_Block_Block_1.0.attn.qkv.weight"][:10], queries)


def test_weights_that_do_not_fit_are_named() -> None:
    config, state = {**TOY, "qkv": 2}, toy_state(2)
    with pytest.raises(
        InputError, match=r"wrong shape: .*attn\.proj\.weight is \(22, 12\), expect"
    ):
        vitas.load(state, {**rows(Block_3=72), "qkv": 2})
    with pytest.raises(
        InputError, match=r"missing: .*attn\.qk\.bias.*unexpected: .*attn\.qk0\.bia"
    ):
        vitas.load(state, {**config, "qkv": 1})
    lacking = {key: tensor for key, tensor in state.items() if "pos_embed" not in key}
    with pytest.raises(
        InputError, match=r"of a square of .* \S+_0\.0\.pos_embed missing, \S+_0\.1\."
    ):
        vitas.load(lacking, config)
    cut = {f"{STEM}.{i}.pos_embed": state[f"{STEM}.{i}.pos_embed"][:, :-1] for i in (0, 1)}
    with pytest.raises(
        InputError, match=r"a class token; \S+ is \(1, 16, 22\), \S+ is \(1, 4, 22\)$"
    ):
        vitas.load({**state, **cut}, config)
    for name, table in cut.items():
        shape = re.escape(str(tuple(table.shape)))
        with pytest.raises(InputError, match=rf"config; wrong shape: {name} is {shape}, expected"):
            vitas.load({**state, name: table}, config)
    with pytest.raises(InputError, match=r"not official ViTAS weights: .*norm1\.weight.* missing"):
        vitas.infer_config({"x": torch.zeros(1)})


def test_what_the_official_code_can_not_have_is_refused() -> None:
    space = vitnas.space("vitas-digits")
    net = vitnas.Supernet(space, 10, 8)
    faults = "joint_qk is False, not True; last_position is False, not True; attn_scale is head"
    with pytest.raises(InputError, match=f"{faults}, not 0.25; it has 3 numbers of heads, not 4"):
        vitas.dump(net)
    with pytest.raises(InputError, match="it shares by suffix, not bilateral"):
        vitas.dump(vitnas.Supernet(space, 10, 8, sharing={"hidden": "suffix"}))
    one = space.smallest
    with pytest.raises(
        InputError, match="img_size is 8x16, not square; in_chans is 1, not 3; it ha"
    ):
        vitas.dump(vitnas.build(one, 0, (8, 16), in_chans=1))
    with pytest.raises(InputError, match="has no scale for 7 heads of width 5"):
        vitas.dump(vitnas.build(one.replace(num_heads=(7, 7), attn_dim=(7, 7), embed_dim=5), 10, 8))
    other = vitnas.build(vitnas.space("s3-digits").smallest, 10, 8)
    for wrong in (other, vitnas.Supernet(vitnas.space("s3-digits"), 10, 8)):
        with pytest.raises(InputError, match="holds ViTAS models and supernets of this package"):
            vitas.dump(wrong)
    with pytest.raises(InputError, match="holds what a net has: leave the space out"):
        vitas.dump(net.extract(one), space=space)
