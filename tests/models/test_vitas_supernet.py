"""ViTAS's supernet: conformance with free slots, private stems and projections, what is cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vitnas
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.resize import resize
from vitnas.space import Choice, Space
from vitnas.testing import models

OPTIONS: dict[str, Any] = {"num_classes": 5, "img_size": (16, 24)}
CHECKS: dict[str, Any] = {
    "axes": ["embed", "hidden"],
    "hold": ["num_heads", "attn_dim", "embed_dim", "patch_size"],
}
SPACE = Space(
    "vitas",
    (
        Choice("depth", (1, 2, 4)),
        Choice("slot", (0, 1, 2, 3), "block", increasing=True),
        Choice("num_heads", (1, 2, 3), "block"),
        Choice("attn_dim", (6, 12, 18), "block"),
        Choice("mlp_dim", (7, 16), "block"),
        Choice("embed_dim", (11, 23)),
        Choice("patch_size", (4, 8)),
    ),
)
PATCHES = (4, 8)
BRIEF: Any = {"standalone": False, "graphs": False}


@pytest.mark.parametrize(
    ("sharing", "options"),
    [
        ("prefix", {"qkv": 0}),
        ("bilateral", {"qkv": 1, "num_classes": 2}),
        ("bilateral", {"joint_qk": True, "last_position": True, "attn_scale": 0.3}),
        ({"*": "suffix", "heads": "prefix"}, {"qkv": 1, "joint_qk": True, "in_chans": 1}),
        ({"hidden": "bilateral", "embed": "centre"}, {"qkv": 0, "joint_qk": True}),
        ("independent", {"attn_scale": "embed"}),
    ],
)
def test_options_and_policies_conform(sharing: Any, options: dict[str, Any]) -> None:
    models.check_model(SPACE, sharing, **BRIEF, **{**OPTIONS, **CHECKS, **options})


def make(sharing: Any = "prefix", **options: Any) -> vitnas.Supernet:
    return models.make(SPACE, sharing, **{**OPTIONS, **options})[0]


def arch(patch_size: int = 4, **genes: Any) -> Arch:
    """Return the largest architecture of one block in slot 0, or another."""
    one = {"num_heads": (3,), "attn_dim": (18,), "mlp_dim": (16,), "slot": (0,)}
    return Arch("vitas", **{"depth": 1, **one, "embed_dim": 23, "patch_size": patch_size, **genes})


def gradients(net: nn.Module, logits: Tensor) -> set[str]:
    """Return the parameters that get a gradient which isn't zero everywhere."""
    net.zero_grad()
    logits.square().sum().backward()
    named = net.named_parameters()
    return {name for name, p in named if p.grad is not None and bool(p.grad.any())}


@pytest.mark.parametrize(
    ("sharing", "side"), [("prefix", None), ("bilateral", "left"), ("bilateral", "right")]
)
@pytest.mark.parametrize("patch", PATCHES)
def test_every_stem_trains_and_no_other(patch: int, sharing: str, side: str | None) -> None:
    net = make(sharing)
    one = arch(patch, embed_dim=11)
    found = gradients(net, net(torch.randn(2, 3, 16, 24), one, side=side))
    own = {"patch_embed.proj.weight", "patch_embed.proj.bias", "cls_token", "pos_embed"}
    banks = {name for name in dict(net.named_parameters()) if name.startswith("banks.")}
    assert len(banks) == 4
    assert all(name.endswith("@patch=4") for name in banks)
    assert found >= (own if patch == 8 else banks)
    assert not found & (banks if patch == 8 else own)
    assert found > {"norm.weight", "head.weight"}


@pytest.mark.parametrize("patch", PATCHES)
def test_the_order_of_patches_matters(patch: int) -> None:
    net, images = make().double(), torch.randn(1, 3, 16, 24, dtype=torch.float64)
    other = images.clone()
    other[..., :patch, :patch] = images[..., -patch:, -patch:]
    other[..., -patch:, -patch:] = images[..., :patch, :patch]
    one = arch(patch)
    with torch.no_grad():
        assert (net(images, one) - net(other, one)).abs().max() > 1e-4
        last = make(last_position=True).double()
        assert (last(images, one) - last(other, one)).abs().max() < 1e-12


@pytest.mark.parametrize(
    ("qkv", "private", "shared"),
    [(2, "attn:qkv:qk", "attn.qkv.v"), (1, "attn:qkv:v", "attn.qkv.qk"), (0, None, "attn.qkv")],
)
def test_what_belongs_to_a_number_of_heads(qkv: int, private: str | None, shared: str) -> None:
    net = make(qkv=qkv)
    stored = dict(net.named_parameters())
    banks = {name for name in stored if name.startswith("blocks.0.banks.")}
    wanted = {f"blocks.0.banks.{private}:{p}@heads={h}" for p in ("weight", "bias") for h in (1, 2)}
    assert banks == (wanted if private else set())
    found = gradients(net, net(torch.randn(2, 3, 16, 24), arch(num_heads=(2,))))
    assert f"blocks.0.{shared}.weight" in found
    used = {name for name in found if "@heads" in name}
    assert used == {name for name in banks if name.endswith("heads=2") and "bias" not in name} | (
        {name for name in banks if name.endswith("heads=2")}
    )
    if private:
        assert f"blocks.0.{private.replace(':', '.')}.weight" not in found


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("qkv", [0, 1, 2])
def test_rows_of_q_and_k(qkv: int, joint: bool, side: str) -> None:
    """Apart, q keeps rows of q; jointly, they are the first or last rows of q and k as one list."""
    net = make("bilateral", qkv=qkv, joint_qk=joint)
    model = net.extract(arch(num_heads=(3,), attn_dim=(6,)), side=side)
    name = "attn.qkv.weight" if qkv == 0 else "attn.qkv.qk.weight"
    whole = net.get_parameter(f"blocks.0.{name}").detach()
    parts = 3 if qkv == 0 else 2
    if joint:
        rows = whole[: parts * 6] if side == "left" else whole[-parts * 6 :]
    else:
        rows = torch.cat([q[:6] if side == "left" else q[-6:] for q in whole.split(18)])
    assert torch.equal(model.get_parameter(f"blocks.0.{name}"), rows)
    columns = net.get_parameter("blocks.0.attn.proj.weight").detach()
    kept = columns[:, :6] if side == "left" else columns[:, -6:]
    assert torch.equal(model.get_parameter("blocks.0.attn.proj.weight"), kept)


def test_blocks_come_from_their_slots_and_are_counted_anew() -> None:
    net = make()
    two = arch(depth=2, slot=(1, 3), num_heads=(3, 3), attn_dim=(18, 18), mlp_dim=(16, 16))
    model = net.extract(two)
    assert {name.split(".")[1] for name in model.state_dict() if name.startswith("blocks.")} == {
        "0",
        "1",
    }
    for layer, slot in enumerate((1, 3)):
        ours = net.get_parameter(f"blocks.{slot}.mlp.fc1.weight")
        assert torch.equal(model.get_parameter(f"blocks.{layer}.mlp.fc1.weight"), ours)
    found = gradients(net, net(torch.randn(1, 3, 16, 24), two))
    assert {name.split(".")[1] for name in found if name.startswith("blocks.")} == {"1", "3"}


def test_drop_path_follows_the_slots_of_the_supernet() -> None:
    net = make(drop_path_rate=0.3)
    two = arch(depth=2, slot=(1, 3), num_heads=(3, 3), attn_dim=(18, 18), mlp_dim=(16, 16))
    model: Any = net.extract(two)
    assert [block.drop_path1.drop_prob for block in model.blocks] == pytest.approx([0.1, 0.3])
    assert model.vitnas_config["options"]["drop_path_depth"] == 4


def test_all_slots_are_stored_though_no_architecture_uses_all() -> None:
    space = SPACE.with_values(depth=[1, 2])
    net = vitnas.Supernet(space, **OPTIONS).eval()
    assert net.largest.depth == 4
    for slot in range(4):
        one = arch(slot=(slot,))
        net.extract(one)
    with pytest.raises(InputError, match="depth is 4, the space allows 1, 2"):
        net(torch.randn(1, 3, 16, 24), SPACE.largest.replace(embed_dim=11))
    with pytest.raises(InputError, match=r"slot\[0\] is 4, the space allows 0, 1, 2, 3"):
        net.extract(arch(slot=(4,)))


@pytest.mark.parametrize(
    ("name", "params"), [("vitas", 49_596_904), ("vitas-c", 36_243_304), ("vitas-f", 158_126_824)]
)
def test_official_supernets_have_the_official_number_of_parameters(name: str, params: int) -> None:
    """Which narrower widths there are has no effect on what is stored."""
    space = vitnas.space(name)
    widths = ("depth", "attn_dim", "mlp_dim", "embed_dim")
    widest = space.with_values(**{gene: [max(space[gene].values)] for gene in widths})
    with torch.device("meta"):
        net = vitnas.Supernet(widest)
    assert sum(parameter.numel() for parameter in net.parameters()) == params


def test_a_supernet_has_private_queries_and_a_model_a_plain_projection() -> None:
    net = vitnas.Supernet(SPACE, **OPTIONS)
    assert net.config.qkv == 2
    assert vitnas.Supernet(SPACE, **OPTIONS, qkv=0).config.qkv == 0
    assert "blocks.0.attn.qkv.weight" in vitnas.build(arch(), 3, (16, 24)).state_dict()
    assert net.sharing.to_json() == {"*": "prefix", "heads": "independent", "patch": "independent"}


@pytest.mark.parametrize("elastic", [False, True])
def test_resizing_interpolates_every_table(elastic: bool) -> None:
    net = make()
    for name, parameter in net.named_parameters():
        if "pos_embed" in name:
            nn.init.constant_(parameter, 0.5)
    for patch in PATCHES:
        one = arch(patch)
        larger: Any = resize(net if elastic else net.extract(one), 7, 32)
        model = larger.extract(one) if elastic else larger
        tokens = (32 // patch) ** 2 + 1
        torch.testing.assert_close(model.pos_embed, torch.full((1, tokens, 23), 0.5))
        weight = net.extract(one).get_parameter("blocks.0.attn.qkv.qk.weight")
        assert torch.equal(model.get_parameter("blocks.0.attn.qkv.qk.weight"), weight)
        assert model(torch.randn(1, 3, 32, 32)).shape == (1, 7)


def test_a_supernet_comes_back_from_its_folder(tmp_path: Path) -> None:
    net = make("bilateral", qkv=1, attn_scale=0.4)
    back = vitnas.load(vitnas.save(net, tmp_path / "net"))
    images, one = torch.randn(1, 3, 16, 24), SPACE.sample(5)
    assert isinstance(back, vitnas.Supernet)
    assert (back.space, back.sharing, back.config) == (net.space, net.sharing, net.config)
    with torch.no_grad():
        assert torch.equal(back(images, one, side="right"), net(images, one, side="right"))


def test_patches_that_do_not_divide_the_image_are_refused_at_once() -> None:
    with pytest.raises(InputError, match="img_size 12x24 is no multiple of patch_size 8"):
        vitnas.Supernet(SPACE, 5, (12, 24))
