"""What the shapes of official ViTAS weights tell, and what those of a description are."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.interop.shapes import num_classes, vote
from vitnas.interop.vitas_codes import describe, network
from vitnas.interop.vitas_names import HEAD, STEM, block_name, of_model, of_supernet
from vitnas.interop.vitas_yaml import SUPERNETS, Official, networks, read
from vitnas.models.vitas import FAMILY
from vitnas.space import Choice, Space
from vitnas.zoo import entries

if TYPE_CHECKING:
    from torch import Tensor, nn

_ORIGINAL = "official ViTAS"
_BLOCK = re.compile(r"net\.backbone_Block_(Block|id)_(\d{1,4})\.0\.")
_QKV = re.compile(r"\.0\.attn\.(qkv|qk|v)(\d*)\.(?:weight|bias)$")
_EMBED = tuple(f"norm{i}.{part}" for i in (1, 2) for part in ("weight", "bias"))
_EMBED += ("attn.proj.bias", "mlp.fc2.bias")
_NEAR = 3 / 4
"""So many of the tensors have name and shape of a known net, if the others are taken for faults."""


@dataclass(frozen=True)
class _Known:
    """A net whose numbers of heads are known."""

    name: str
    embed: int
    given: Official


def infer(state: Mapping[str, Tensor]) -> Official:
    """Return the description of the published network or official supernet that weights are of.

    Raises:
        InputError: these are not official ViTAS weights, or no known ones, or some tensors are
            not as in the known one that the others are of.
    """
    known, share = _nearest(state)
    if known is None or share < _NEAR:
        raise InputError(
            "ViTAS weights don't show the numbers of heads, and these are of no published network; "
            "give the official YAML as config"
        )
    if share < 1:
        advice = f"; the others are as in {known.name}: of another net, give the YAML (--config)"
        compare(state, known.given, advice)
    return known.given


def _nearest(state: Mapping[str, Tensor]) -> tuple[_Known | None, float]:
    """Return the known net of the weights' width with most of their tensors, and what share."""
    blocks = sorted({match.groups() for name in state if (match := _BLOCK.match(name))})
    rows = [block_name(op, int(slot), "") for op, slot in blocks or [("Block", "0")]]
    embed = vote(state, {row + name: 0 for row in rows for name in _EMBED}, _ORIGINAL)
    classes = _classes(state, embed)
    qkv, identity = _mode(state), sum(op == "id" for op, _ in blocks) > len(blocks) / 2
    found = [one for one in _known(classes, qkv, identity) if one.embed == embed]
    if not found:
        return None, 0.0
    img_size(state, found[0].given)  # which says where no table tells it
    shares = [_fitting(state, one.given) for one in found]
    best = shares.index(max(shares))
    return found[best], shares[best]


def _known(classes: int, qkv: int, identity: bool) -> Iterator[_Known]:
    """Yield the published networks, and the official supernets with these operations."""
    for name, arch in ((name, entry.arch) for name, entry in entries().items()):
        if arch.family == FAMILY.name:
            yield _Known(name, int(arch.embed_dim), replace(describe(arch), classes=classes))
    for name, space in SUPERNETS.items():
        if qkv or len(space.patches) > 1:  # else it has the names of a network
            own = replace(space, classes=classes, qkv=qkv, identity=identity)
            yield _Known(f"the supernet of {name}", space.embed, own)


def _classes(state: Mapping[str, Tensor], embed: int) -> int:
    """Return how many classes the head has; its weight says it also when it is transposed."""
    weight = state.get(f"{HEAD}.weight")
    if weight is None or weight.dim() != 2 or embed not in weight.shape:
        return num_classes(state, (f"{HEAD}.bias", f"{HEAD}.weight"), _ORIGINAL)
    rows, columns = weight.shape
    return columns if rows == embed else rows


def _mode(names: Collection[str]) -> int:
    """Return which of q, k and v there are for each number of heads, as most names say."""
    private = {"qkv": (0, 0), "qk": (1, 2), "v": (2, 1)}  # without a number, and with one
    found = (_QKV.search(name) for name in names)
    told = [private[match[1]][bool(match[2])] for match in found if match]
    return Counter(told).most_common(1)[0][0] if told else 0


def img_size(state: Mapping[str, Tensor], given: Official) -> int:
    """Return the side of the images, which most position tables tell.

    Raises:
        InputError: there is no table, or none has those of a square of patches and a class token.
    """
    patches = (int(network(given).patch_size),) if given.searched else given.patches
    told, faults = [], []
    for stem, patch in enumerate(patches):
        name = f"{STEM}.{stem}.pos_embed"
        table = state.get(name)
        count = table.shape[1] - 1 if table is not None and table.dim() == 3 else 0
        side = math.isqrt(max(count, 0))
        if side and side**2 == count:
            told.append(side * patch)
        else:
            faults.append(f"{name} {'missing' if table is None else f'is {tuple(table.shape)}'}")
    if not told:
        raise InputError(
            f"not {_ORIGINAL} weights: they have no positions of a square of patches and a class "
            f"token; {', '.join(faults)}"
        )
    return Counter(told).most_common(1)[0][0]


def described(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> Official:
    """Return what of a YAML the weights are of: the supernet, or a network beside it.

    The shapes decide, as no name tells every supernet from every network. Where none has them all,
    the one that has most is returned, so that what is wrong with the weights can be said.

    Raises:
        InputError: the YAML is malformed, or two different networks of it have the shapes.
    """
    given = read(config)
    if given.searched or (own := _fitting(state, given)) == 1:
        return given
    others = networks(config)
    found = {name: network(one) for name, one in others.items()}
    fitting = {name: _fitting(state, one) for name, one in others.items()}
    most = max(fitting.values(), default=own)
    if own >= most:
        return given
    near = [name for name in others if fitting[name] == most]
    agreed({name: found[name] for name in near})
    return others[near[0]]


def agreed(found: Mapping[str, Arch]) -> Arch:
    """Return what the parts of a YAML agree on.

    Raises:
        InputError: they are different networks.
    """
    first, *others = found.values()
    if any(one != first for one in others):
        raise InputError(
            f"official ViTAS YAML: {' and '.join(found)} are different networks; leave one out"
        )
    return first


def compare(state: Mapping[str, Tensor], given: Official, advice: str = "") -> None:
    """Hold weights against a description, before anything of its size is allocated.

    Raises:
        InputError: they don't fit; the message lists the tensors, and ends with the advice.
    """
    from vitnas.interop.checkpoint import misfits, refuse

    missing, extra, wrong = misfits(state, _shapes(given, img_size(state, given)))
    faults = {"missing": missing, "unexpected": extra, "wrong shape": wrong}
    refuse("ViTAS", faults, advice)


def _fitting(state: Mapping[str, Tensor], given: Official) -> float:
    """Return the share of the tensors, there and described, that have name and shape of both."""
    try:
        expected = _shapes(given, img_size(state, given))
    except InputError:  # no such network for these images
        return 0.0
    same = sum(state[name].shape == one.shape for name, one in expected.items() if name in state)
    return same / len(expected.keys() | state.keys())


@lru_cache(maxsize=16)
def _shapes(given: Official, side: int) -> Mapping[str, Tensor]:
    """Return the official state, without values."""
    import torch

    with torch.device("meta"):
        net, names = empty(given, side, None, False)
    expected = net.state_dict()
    return {theirs: expected[ours] for theirs, ours in names.items()}


def empty(
    given: Official, side: int, space: Space | None, faithful: bool
) -> tuple[nn.Module, dict[str, str]]:
    """Return a net without official weights, and the names: the official one → ours."""
    from vitnas.supernet import Supernet, build

    options: dict[str, Any] = {"num_classes": given.classes, "img_size": side}
    if given.searched:
        found = network(given)
        model = build(found, attn_scale="embed", drop_path_depth=given.slots, **options)
        return model, dict(of_model(model, found))
    own = space_of(given)
    if faithful:
        options |= {"attn_scale": scale(given.embed)}
        options |= {"joint_qk": True, "last_position": True}
    net = Supernet(space, sharing="bilateral", stored_space=own, qkv=given.qkv, **options)
    return net, dict(of_supernet(net, given, own.largest))


def scale(embed: int) -> float:
    """Return what the released supernet scales scores by.

    Raises:
        InputError: it has no scale for this width.
    """
    if embed < 3:
        raise InputError(f"the official ViTAS has no supernet of width {embed}, only from 3")
    return float((embed // 3) ** -0.5)


def space_of(given: Official) -> Space:
    """Return the space that has a tensor for whatever is private in a supernet."""
    places = Choice("slot", tuple(range(given.slots)), "block", increasing=True)
    choices = (
        Choice("depth", (given.slots,)),
        *((places,) if given.identity else ()),
        Choice("num_heads", given.heads, "block"),
        Choice("attn_dim", (given.attn // 3,), "block"),
        Choice("mlp_dim", (given.mlp,), "block"),
        Choice("embed_dim", (given.embed,)),
        Choice("patch_size", given.patches),
    )
    return Space(FAMILY.name, choices)
