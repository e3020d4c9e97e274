from __future__ import annotations

import pytest
import torch

import vitnas
from vitnas.errors import InputError
from vitnas.search.space_evolution_dimensions import Dimension, with_values_of
from vitnas.space import Space
from vitnas.supernet import Supernet
from vitnas.warm_start import warm_start

S3 = vitnas.space("s3-digits")
LARGER_S3 = with_values_of(
    S3,
    {
        Dimension("depth", 0): (2, 3),
        Dimension("embed_dim", 0): (24, 32),
        Dimension("num_heads", 1): (3, 4),
        Dimension("mlp_ratio", 1): (1.0, 2.0, 3.0),
        Dimension("window_size", 0): (2,),
    },
)
FLAT = vitnas.space("autoformer-digits")
LARGER_FLAT = with_values_of(
    FLAT, {Dimension("depth"): (4, 5), Dimension("embed_dim"): (32, 48, 64)}
)


def made(space: Space, seed: int, **options: object) -> Supernet:
    """A supernet with all parameters random, biases and tables too."""
    torch.manual_seed(seed)
    net = Supernet(space, 10, 8, in_chans=1, **options).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(std=0.1)
    return net


@pytest.mark.parametrize(
    ("first", "second", "sharing"),
    [
        (S3, LARGER_S3, "prefix"),
        (LARGER_S3, S3, "prefix"),
        (FLAT, LARGER_FLAT, "prefix"),
        (LARGER_FLAT, FLAT, "suffix"),
    ],
)
def test_subnets_of_both_spaces_keep_their_function(
    first: Space, second: Space, sharing: str
) -> None:
    source, net = made(first, 1, sharing=sharing), made(second, 2, sharing=sharing)
    common = [arch for seed in range(4000) if (arch := first.sample(seed)) in second][:5]
    assert common
    images = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        assert not torch.equal(net(images, common[0]), source(images, common[0]))
        share = warm_start(net, source)
        for arch in common:
            assert torch.equal(net(images, arch), source(images, arch))
    assert share == 1 if second is FLAT else 0 < share < 1


def test_what_is_new_keeps_its_weights_and_the_source_is_left_alone() -> None:
    source, net = made(FLAT, 1), made(LARGER_FLAT, 2)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    given = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    share = warm_start(net, source)
    after = net.state_dict()
    new = "blocks.4.mlp.fc1.weight"
    assert torch.equal(after[new], before[new])
    assert torch.equal(after["head.weight"][:, 48:], before["head.weight"][:, 48:])
    assert torch.equal(after["head.weight"][:, :48], given["head.weight"])
    changed = sum(int((after[name] != before[name]).sum()) for name in dict(net.named_parameters()))
    total = sum(parameter.numel() for parameter in net.parameters())
    assert share == pytest.approx(changed / total, abs=1e-3)
    assert all(torch.equal(tensor, given[name]) for name, tensor in source.state_dict().items())


@pytest.mark.parametrize(
    ("space", "options", "told"),
    [
        (FLAT, {}, "can't start from a supernet of family autoformer; this one has s3"),
        (S3, {"num_classes": 9}, "num_classes 9; this one has 10"),
        (S3, {"img_size": 16}, r"img_size \(16, 16\); this one has \(8, 8\)"),
        (S3, {"in_chans": 3}, "in_chans 3; this one has 1"),
        (S3, {"sharing": "suffix"}, "of sharing .*suffix.*; this one has"),
    ],
)
def test_other_supernets_are_refused(space: Space, options: dict[str, object], told: str) -> None:
    given = {"num_classes": 10, "img_size": 8, "in_chans": 1, **options}
    with pytest.raises(InputError, match=told):
        warm_start(made(S3, 0), Supernet(space, **given))  # type: ignore[arg-type]
