from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

import vitnas
from vitnas.errors import InputError
from vitnas.proxies import PROXIES, dss, of_arch, synflow
from vitnas.search import predictor
from vitnas.space import Choice, Space

IMAGE = (2, 1, 1)


def _linear(*rows: list[float]) -> nn.Linear:
    layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    layer.weight = nn.Parameter(torch.tensor(rows))
    return layer


class Tiny(nn.Module):
    """A linear "block": what is called attention, then what is called MLP, then a head."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.Sequential(_linear([2.0, 0.0], [0.0, -1.0]))
        self.mlp = nn.Sequential(_linear([1.0, -2.0], [0.0, 3.0]))
        self.head = _linear([1.0, 1.0])

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.mlp(self.attn(x.flatten(1))))
        return out


def test_synflow_by_hand() -> None:
    """In a linear net each layer's saliencies add up to the output, a conservation law."""
    net = nn.Sequential(nn.Flatten(), _linear([1.0, -2.0], [3.0, 0.0]), _linear([-4.0, 5.0]))
    # 4 * (1 + 2) + 5 * 3 = 27, once for each of the two layers
    assert synflow(net, IMAGE) == 54
    assert synflow(Tiny(), IMAGE) == 3 * (2 + 2 + 3)


def test_synflow_of_a_convolution_counts_its_weights_too() -> None:
    conv = nn.Conv2d(2, 1, 1, bias=False)
    conv.weight = nn.Parameter(torch.tensor([[[[0.5]], [[-1.5]]]]))
    assert synflow(nn.Sequential(conv, nn.Flatten(), _linear([3.0])), IMAGE) == 2 * 6


def test_dss_by_hand() -> None:
    net = Tiny()
    # L = 1 M A 1 with A = diag(2, 1) and M = [[1, 2], [0, 3]]. dL/dA has the rows (1, 1) and
    # (5, 5), of rank one, so its nuclear norm is sqrt(1 + 25) sqrt(2); that of A is 3. The
    # saliencies of M add up to L = 2 + 2 + 3.
    assert dss(net, IMAGE) == pytest.approx(3 * math.sqrt(52) + 7, rel=1e-12)


def test_signs_do_not_matter_and_scale_does() -> None:
    net, flipped, doubled = Tiny(), Tiny(), Tiny()
    with torch.no_grad():
        for parameter in flipped.parameters():
            parameter.neg_()
        for parameter in doubled.attn.parameters():
            parameter.mul_(2)
    for proxy in PROXIES.values():
        assert proxy(flipped, IMAGE) == proxy(net, IMAGE)
        assert proxy(doubled, IMAGE) == pytest.approx(2 * proxy(net, IMAGE))


def test_the_model_is_left_as_it_is() -> None:
    net = Tiny().train()
    before = copy.deepcopy(net.state_dict())
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    for proxy in PROXIES.values():
        assert proxy(net, IMAGE) > 0
    assert net.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in net.parameters())


SMALL = {"num_classes": 10, "img_size": 32}


@pytest.mark.parametrize("name", PROXIES)
@pytest.mark.parametrize("arch", ["autoformer-tiny", "vitas-a"])
def test_published_architectures_have_one_that_seed_and_arch_decide(name: str, arch: str) -> None:
    found = vitnas.arch(arch)
    state = torch.random.get_rng_state()
    first = of_arch(name, 0, **SMALL)(found)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(5)
    assert of_arch(name, 0, **SMALL)(found) == first
    assert of_arch(name, 1, **SMALL)(found) != first
    assert math.isfinite(first)
    assert first > 0


@pytest.mark.parametrize("name", PROXIES)
def test_a_windowed_network_has_one_too(name: str) -> None:
    space = Space(
        "s3",
        (
            Choice("depth", ((2, 3), (1, 2)), "stage"),
            Choice("mlp_ratio", (1.0, 2.0), "block"),
            Choice("num_heads", ((1, 2), (2, 3)), "block"),
            Choice("window_size", ((2, 4), (1, 2)), "block"),
            Choice("embed_dim", ((16, 24), (20, 31)), "stage"),
        ),
        stages=2,
    )
    score = of_arch(name, num_classes=5, img_size=16, patch_size=4, head_dim=8)
    assert 0 < score(space.smallest) < score(space.largest)


@pytest.mark.parametrize("name", PROXIES)
def test_a_larger_network_has_more(name: str) -> None:
    space, score = vitnas.space("autoformer-tiny"), of_arch(name, **SMALL)
    assert 0 < score(space.smallest) < score(space.largest)


def test_a_network_without_attention_has_no_dss() -> None:
    with pytest.raises(InputError) as error:
        dss(nn.Sequential(nn.Flatten(), _linear([1.0, 1.0])), IMAGE)
    assert str(error.value) == (
        "DSS needs a model with linear layers inside modules named attn and mlp"
    )


def test_search_knows_the_names_without_torch() -> None:
    assert tuple(PROXIES) == predictor.PROXIES


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InputError) as error:
        of_arch("sinflow")
    assert str(error.value) == (
        "unknown zero-cost proxy 'sinflow'; did you mean 'synflow'? (allowed: dss, synflow)"
    )
