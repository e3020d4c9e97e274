"""What the three code bases of AutoFormer have in common: official (cream), NNI's and MMRazor's.

All have the same network under other names. NNI and MMRazor keep q, k and v in projections of their
own (`apart`), of which a subnet uses the first heads; so do the supernets of this package. The
official code has one flat bias, whose entries change between q, k and v with the number of heads:
of such a supernet the others can hold only the subnets whose heads are all maximal, and the other
way round.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.interop import shapes
from vitnas.interop.absent import Words, advice, folded
from vitnas.interop.arguments import LARGEST, is_size
from vitnas.interop.shapes import vote
from vitnas.models import vit
from vitnas.models.autoformer import FAMILY
from vitnas.models.base import check_genes
from vitnas.models.vit import GENES
from vitnas.space import DEEPEST, Choice, Space

if TYPE_CHECKING:
    from torch import Tensor, nn

State: TypeAlias = "Mapping[str, Tensor]"
Net = TypeVar("Net", bound="nn.Module")
HEAD_DIM = 64
TABLES = {
    ".rel_k_rows": ".rel_pos_embed_k.embeddings_table_v",
    ".rel_k_cols": ".rel_pos_embed_k.embeddings_table_h",
    ".rel_v_rows": ".rel_pos_embed_v.embeddings_table_v",
    ".rel_v_cols": ".rel_pos_embed_v.embeddings_table_h",
}
"""Our names of the tables of relative positions, and the name that all three have."""

_EMBED = {"patch_embed.proj.weight": 0, "patch_embed.proj.bias": 0, "cls_token": 2}
_EMBED_OF_BLOCK = {"norm1.weight": 0, "norm2.weight": 0, "attn.proj.bias": 0, "mlp.fc2.bias": 0}
_ATTN = {"attn.q.weight": 0, "attn.k.weight": 0, "attn.v.weight": 0, "attn.proj.weight": 1}
_HIDDEN = {"mlp.fc1.weight": 0, "mlp.fc1.bias": 0, "mlp.fc2.weight": 1}
_BLOCK = re.compile(r"(?:^|\.)blocks\.(\d+)\.")


def rename(name: str, table: Mapping[str, str]) -> str:
    """Replace every part of a name that the table has."""
    for old, new in table.items():
        name = name.replace(old, new)
    return name


def apart(state: State) -> dict[str, Tensor]:
    """Return a state of ours with q, k and v one by one: views of the joined tensors."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if ".qkv." in name:
            parts = tensor.detach().chunk(3)
            names = [name.replace(".qkv.", f".{part}.") for part in "qkv"]
            found |= dict(zip(names, parts, strict=True))
        else:
            found[name] = tensor.detach()
    return found


def joined(state: State) -> dict[str, Tensor]:
    """Return the inverse of `apart`."""
    import torch

    found = {}
    for name, tensor in state.items():
        if ".attn.q." in name:
            parts = [state[name.replace(".q.", f".{part}.")] for part in "qkv"]
            found[name.replace(".q.", ".qkv.")] = torch.cat(parts)
        elif ".attn.k." not in name and ".attn.v." not in name:
            found[name] = tensor
    return found


def size(state: State, name: str, dim: int, dims: int, original: str) -> int | None:
    """Return a size of a tensor that has so many dimensions, None where there is no such tensor.

    Raises:
        InputError: it has more or fewer dimensions.
    """
    if name not in state:
        return None
    shape = state[name].shape
    if len(shape) != dims:
        raise InputError(f"not {original} weights: {name} has {len(shape)} dimensions, not {dims}")
    return shape[dim]


def infer_arch(
    state: State,
    theirs: Callable[[str], str],
    original: str,
    ratios: Iterable[float] = (),
    depth: int | None = None,
) -> Arch:
    """Return the architecture that weights imply; `theirs` gives a name of `apart` in the state.

    A size is what most of the tensors that have it say, so that those of a wrong shape are found
    when all are compared with it. MLP ratios are of `ratios` where one of them gives the width; the
    depth is what the names show, if it is not given. Layers that have no tensors are taken to be as
    the one before.

    Raises:
        InputError: nothing tells a size.
    """
    there = _blocks(state)
    depth = len(there) if depth is None else depth
    embed = embed_dim(state, theirs, original)
    known = [max((j for j in there if j <= i), default=0) for i in range(depth)]
    layers = [f"blocks.{layer}." for layer in known]
    hidden = [_vote(state, theirs, original, _HIDDEN, layer) for layer in layers]
    attn = [_vote(state, theirs, original, _ATTN, layer) for layer in layers]
    found = {n: r for n in hidden for r in ratios if vit.hidden_dim(embed, r) == n}
    return Arch(
        FAMILY.name,
        depth=depth,
        mlp_ratio=tuple(found.get(n, vit.mlp_ratio(embed, n)) for n in hidden),
        num_heads=tuple(max(1, n // HEAD_DIM) for n in attn),
        embed_dim=embed,
    )


def embed_dim(state: State, theirs: Callable[[str], str], original: str) -> int:
    """Return the embed_dim that most tensors have.

    Raises:
        InputError: no tensor tells it.
    """
    blocks = range(count_blocks(state))
    places = {f"blocks.{i}.{name}": dim for i in blocks for name, dim in _EMBED_OF_BLOCK.items()}
    return _vote(state, theirs, original, _EMBED | places)


def hidden_dim(state: State, theirs: Callable[[str], str], original: str, layer: int) -> int:
    """Return the MLP width of a layer that most of its tensors have.

    Raises:
        InputError: no tensor tells it.
    """
    return _vote(state, theirs, original, _HIDDEN, f"blocks.{layer}.")


def _vote(
    state: State,
    theirs: Callable[[str], str],
    original: str,
    places: Mapping[str, int],
    prefix: str = "",
) -> int:
    return vote(state, {theirs(prefix + name): dim for name, dim in places.items()}, original)


def table_rows(state: State, theirs: Callable[[str], str], original: str) -> int | None:
    """Return the length that most tables of relative positions have, None where none is there."""
    names = [f"blocks.{i}.attn{table}" for i in range(count_blocks(state)) for table in TABLES]
    if not any(theirs(name) in state for name in names):
        return None
    return _vote(state, theirs, original, dict.fromkeys(names, 0))


def num_classes(state: State, theirs: Callable[[str], str], original: str) -> int:
    """Return how many classes the head has; see `shapes.num_classes`."""
    return shapes.num_classes(state, (theirs("head.weight"), theirs("head.bias")), original)


def count_blocks(names: Iterable[str]) -> int:
    """Return how many blocks the names of tensors have."""
    return len(_blocks(names))


def _blocks(names: Iterable[str]) -> set[int]:
    """Return the numbers of the blocks that names of tensors have."""
    return {int(match[1]) for name in names if (match := _BLOCK.search(name))}


def make(
    state: State,
    theirs: Callable[[str], str],
    original: str,
    arch: Arch,
    options: Mapping[str, Any],
    space: Space | None,
    *,
    supernet: bool,
    words: Words,
) -> nn.Module:
    """Return the net of this architecture with the weights of NNI or MMRazor.

    `words` are for what is missing as a whole; see `fitting`.

    Raises:
        InputError: names or shapes that differ from what the net has, or a space for one network.
    """
    from vitnas.supernet import Supernet, build

    if space is not None and not supernet:
        raise InputError(f"these {original} weights are one network: leave the space out")
    kind = partial(Supernet, space, largest=arch) if supernet else partial(build, arch)
    net: nn.Module = fitting(state, partial(kind, **options), theirs, original, words, apart)
    own = apart(net.state_dict())
    net.load_state_dict(joined({name: state[theirs(name)] for name in own}))
    return net


def fitting(
    state: State,
    make: Callable[[], Net],
    theirs: Callable[[str], str],
    original: str,
    words: Words,
    view: Callable[[State], State] = dict,
) -> Net:
    """Make a net, once it is known to have what a state has under an original's names.

    Raises:
        InputError: names or shapes differ. Of a whole group that is missing, or of last blocks, it
            is said in `words` how a config would tell that the network never had them.
    """
    import torch

    from vitnas.interop.checkpoint import misfits, refuse

    with torch.device("meta"):  # a config can ask for more memory than there is
        own = view(make().state_dict())
    expected = {theirs(name): own[name] for name in own}
    missing, extra, wrong = misfits(state, expected)
    lacking = [name for name in own if theirs(name) not in state]
    faults = {
        "missing": folded(missing, expected),
        "unexpected": folded(extra, state),
        "wrong shape": wrong,
    }
    refuse(original, faults, advice(own, lacking, words))
    return make()


def check_listed(
    original: str,
    arch: Arch,
    genes: Mapping[str, str],
    lists: Mapping[str, Any],
    where: str = "",
) -> None:
    """Check that an architecture is one of those that an original searches.

    Args:
        original: the system's name.
        arch: the sizes that weights have.
        genes: the arguments of the original that list choices, and the gene of each.
        lists: what these arguments hold, those that are there.
        where: what comes before their names, where they are part of another argument.

    Raises:
        InputError: listing every size that is in none of the lists.
    """
    faults = []
    for name in (name for name in genes if name in lists):
        value: Any = arch[genes[name]]
        values = value if isinstance(value, tuple) else (value,)
        wrong = sorted({one for one in values if one not in lists[name]})
        if wrong:
            told = ", ".join(map(str, wrong))
            faults.append(f"{genes[name]} is {told}, {where}{name} is {lists[name]}")
    if faults:
        raise InputError(f"not the {original} of this config; {'; '.join(faults)}")


def listed_space(lists: Mapping[str, Any], largest: Arch) -> Space | None:
    """Return the space that an original searches, by its lists of the choices of each gene.

    None where some are missing, or where the weights aren't those of the largest choices, as in a
    model space of NNI that was never mutated.

    Raises:
        InputError: a list has a value twice.
    """
    if lists.keys() != GENES.keys():
        return None
    choices = tuple(Choice(gene, tuple(lists[gene]), level) for gene, level in GENES.items())
    found = Space(FAMILY.name, choices)
    return found if found.largest == largest else None


def read_list(original: str, name: str, gene: str, values: Any) -> list[float]:
    """Return the choices of a gene that an argument of an original lists.

    Raises:
        InputError: it is no list of numbers in range, or of depths that a space could have.
    """
    listed = isinstance(values, list | tuple) and len(values) > 0
    if listed and gene == "depth":
        return [read_depth(original, one) for one in values]
    if not listed or not all(map(is_size, values)):
        most = DEEPEST if gene == "depth" else LARGEST
        raise InputError(
            f"{original} config: {name} is {values!r}; it must be a list of positive numbers up to "
            f"{most:,}"
        )
    return list(values)


def read_depth(original: str, depth: Any) -> int:
    """Return a described depth, which may be written as a float.

    Raises:
        InputError: it is no whole number that a space could have.
    """
    whole = isinstance(depth, int | float) and not isinstance(depth, bool) and depth % 1 == 0
    if not whole:
        raise InputError(f"{original} architecture: depth is {depth!r}, not a whole number")
    if not 1 <= depth <= DEEPEST:
        raise InputError(f"{original} architecture: depth is {depth}, not from 1 to {DEEPEST}")
    return int(depth)


def own_arch(depth: int, **genes: Any) -> Arch:
    """Return a described architecture, checked.

    Raises:
        InputError: a gene is malformed.
    """
    ordered = {name: genes[name] for name in GENES if name in genes}
    found = Arch(FAMILY.name, depth=depth, **ordered)
    check_genes(GENES, (), found)
    return found


def layers(arch: Arch, space: Space | None) -> list[tuple[float, int]]:
    """Return MLP ratio and heads of every layer; with a space also of those beyond the depth.

    Those are at the minimum of the space, as in NNI's published architectures.

    Raises:
        InputError: the architecture is not in the space.
    """
    found = [(float(r), int(h)) for r, h in zip(arch.mlp_ratio, arch.num_heads, strict=True)]
    if space is not None:
        space.validate(arch)
        for i in range(arch.depth, space.largest.depth):
            ratio, heads = (min(space[gene].at((i,))) for gene in ("mlp_ratio", "num_heads"))
            found.append((float(ratio), int(heads)))
    return found


def cut(value: Any, depth: int) -> Any:
    """Return the values of a list that stand for layers; the rest has no effect in any original."""
    return list(value[:depth]) if isinstance(value, list | tuple) else value


def check_family(arch: Arch, original: str) -> None:
    """Check that an original has architectures like this one.

    Raises:
        InputError: it is no AutoFormer, or has a gene that the original lacks.
    """
    if arch.family != FAMILY.name:
        raise InputError(f"the {original} has no {arch.family} architectures")
    extra = [name for name in arch if name not in GENES]
    if extra:
        raise InputError(f"the {original} has no gene {', '.join(extra)} in its subnets")
