"""The static S3: timm's own nets bit for bit, initialisation, masks of any dtype."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch

import vitnas
from vitnas.arch import Arch

ONE = Arch(
    "s3",
    depth=(2,),
    mlp_ratio=((1, 1),),
    num_heads=((1, 3),),
    window_size=((2, 2),),
    embed_dim=(32,),
)


@pytest.mark.parametrize("name", ["tiny", "small", "base"])
def test_published_nets_are_timms_bit_for_bit(name: str) -> None:
    theirs = timm.create_model(f"swin_s3_{name}_224", num_classes=10).eval()
    ours = vitnas.build(vitnas.arch(f"s3-{name}"), num_classes=10).eval()
    assert isinstance(ours, type(theirs))
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        ours.load_state_dict(theirs.state_dict())
        images = torch.randn(1, 3, 224, 224)
        assert torch.equal(ours(images), theirs(images))
    assert ours.feature_info == theirs.feature_info
    for name in ("num_layers", "num_features", "num_classes", "head_hidden_size", "patch_embed"):
        assert str(getattr(ours, name)) == str(getattr(theirs, name))


def test_it_starts_as_the_original_does() -> None:
    """Linear weights and tables have std 0.02, biases 0; the patches' convolution is torch's."""
    torch.manual_seed(0)
    model = vitnas.build(vitnas.arch("s3-tiny"), num_classes=100)
    for name, parameter in model.named_parameters():
        if name == "patch_embed.proj.weight":
            assert parameter.std().item() == pytest.approx(48**-0.5 / 3**0.5, rel=0.05)
        elif parameter.ndim > 1:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.15), name
        elif name != "patch_embed.proj.bias":
            assert torch.all(parameter == float("norm" in name and name.endswith("weight"))), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_masks_follow_the_dtype(dtype: torch.dtype) -> None:
    space = vitnas.space("s3-digits")
    net = vitnas.Supernet(space, 3, 8, in_chans=1).eval().to(dtype)
    shifted = space.largest.replace(window_size=((2, 2), (2, 2)))
    images = torch.randn(2, 1, 8, 8, dtype=dtype)
    with torch.no_grad():
        assert net(images, shifted).dtype == dtype
        assert torch.equal(net(images, shifted), net.extract(shifted)(images))
        model = vitnas.build(ONE, 3, 16).eval().to(dtype)
        assert model(torch.randn(1, 3, 16, 16, dtype=dtype)).dtype == dtype


def test_timms_own_resizing_is_refused() -> None:
    model: Any = vitnas.build(ONE, 3, 16)
    with pytest.raises(NotImplementedError, match=r"vitnas\.resize"):
        model.set_input_size(32)
