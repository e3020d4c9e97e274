"""Zero-cost proxies: figures of an untrained network that are hoped to go with its accuracy.

They need no images, no labels and no training. None of them is an accuracy, and how well one orders
architectures is known only where accuracies were measured as well.

All are computed as published: with the absolute values of the parameters, on one image of ones, of
the loss that is the sum of the logits; here in float64, so that machines agree on the order.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vitnas.arch import Arch
from vitnas.errors import InputError, unknown
from vitnas.supernet import build


def synflow(model: nn.Module, image: tuple[int, int, int]) -> float:
    """Return the synaptic flow: the sum of |W · dL/dW| over all linear and convolution weights.

    `image` is channels, height and width. Source: Tanaka et al. 2020 (arXiv 2006.05467), as a proxy
    Abdelfattah et al. 2021 (arXiv 2101.08134). Those networks are linear once their batch norms are
    off; the layer norms and attentions of a transformer stay, as in TF-TAS.
    """
    flowing = _with_gradients(model, image)
    return sum(_saliency(layer.weight) for layer in _layers(flowing, nn.Linear, nn.Conv2d))


def dss(model: nn.Module, image: tuple[int, int, int]) -> float:
    """Return TF-TAS's indicator: synaptic diversity of attention and saliency of MLPs, added up.

    The diversity of a linear layer is the nuclear norm of dL/dW times that of W, summed over the
    layers of all attentions; the saliency is |W · dL/dW|, summed over the weights of all MLPs.
    Source: Zhou et al. 2022 (arXiv 2203.12217). The released code adds the saliency of the patch
    embedding and of the head, which the formula of the paper does not have.

    Raises:
        InputError: the model has no attention or no MLP by timm's names, `attn` and `mlp`.
    """
    flowing = _with_gradients(model, image)
    attention = [layer.weight for layer in _layers(flowing, nn.Linear, inside="attn")]
    mlp = [layer.weight for layer in _layers(flowing, nn.Linear, inside="mlp")]
    if not attention or not mlp:
        raise InputError("DSS needs a model with linear layers inside modules named attn and mlp")
    return sum(map(_diversity, attention)) + sum(map(_saliency, mlp))


PROXIES: Mapping[str, Callable[[nn.Module, tuple[int, int, int]], float]] = {
    "synflow": synflow,
    "dss": dss,
}


def of_arch(name: str, seed: int = 0, **options: Any) -> Callable[[Arch], float]:
    """Return a proxy as a function of an architecture, on its freshly initialised static model.

    The initial weights depend on the seed and the architecture alone. `options` are those of
    `vitnas.build`, such as `num_classes` and `img_size`.

    Raises:
        InputError: there is no such proxy.
    """
    if name not in PROXIES:
        raise unknown("zero-cost proxy", name, PROXIES)

    def score(arch: Arch) -> float:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = build(arch, **options)
        record: Any = model.vitnas_config
        channels, (height, width) = (record["options"][key] for key in ("in_chans", "img_size"))
        return PROXIES[name](model, (channels, height, width))

    return score


def _with_gradients(model: nn.Module, image: tuple[int, int, int]) -> nn.Module:
    """Return a copy of a model with absolute parameters and the gradients of the summed logits."""
    flowing = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        for parameter in flowing.parameters():
            parameter.requires_grad_().abs_()
            parameter.grad = None
    flowing(torch.ones(1, *image, dtype=torch.float64)).sum().backward()
    return flowing


def _layers(model: nn.Module, *kinds: type[nn.Module], inside: str = "") -> Iterable[Any]:
    """Return the layers of these kinds, all or those inside modules of this name."""
    return (
        module
        for path, module in model.named_modules()
        if isinstance(module, kinds) and (not inside or inside in path.split("."))
    )


def _saliency(weight: Tensor) -> float:
    return 0.0 if weight.grad is None else (weight * weight.grad).abs().sum().item()


def _diversity(weight: Tensor) -> float:
    if weight.grad is None:
        return 0.0
    return _nuclear_norm(weight) * _nuclear_norm(weight.grad)


def _nuclear_norm(matrix: Tensor) -> float:
    return float(torch.linalg.svdvals(matrix.detach()).sum())
