"""What a model family tells the core: its units, the axes of its parameters, its static modules.

Nothing here imports torch: sizes, layouts and costs are numbers and text.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from vitnas.arch import Arch
from vitnas.errors import InputError, unknown
from vitnas.genes import describe, has_shape, shape_at

if TYPE_CHECKING:
    from torch import Tensor, nn

Attention: TypeAlias = Literal["explicit", "factorised"]


@dataclass(frozen=True)
class _Key:
    """A frozen dataclass that is the key of caches: its hash is computed once.

    The hash stays out of pickles: that of text differs from process to process.
    """

    def __init_subclass__(cls) -> None:
        # `dataclass` gives a frozen class a hash of its fields, unless the class itself has one.
        cls.__hash__ = _Key.__hash__  # type: ignore[method-assign]

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(tuple(getattr(self, field.name) for field in dataclasses.fields(self)))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_hash"}


@dataclass(frozen=True)
class Config(_Key):
    """What all families need beside the architecture: classes, image, regularisation.

    Raises:
        InputError: a value is of another type or out of range.
    """

    num_classes: int = 1000
    img_size: tuple[int, int] = (224, 224)
    in_chans: int = 3
    drop_path_rate: float = 0.0
    drop_path_depth: int | None = None
    """The drop-path ramp ends at this layer; a supernet's largest depth, else the own depth."""

    def __post_init__(self) -> None:
        _check_types(self)
        height, width = self.img_size
        if self.num_classes < 0 or min(height, width, self.in_chans) < 1:
            raise InputError(
                f"num_classes {self.num_classes}, img_size {height}x{width} and in_chans "
                f"{self.in_chans} must be positive"
            )
        if not 0 <= self.drop_path_rate < 1:
            raise InputError(f"drop_path_rate is {self.drop_path_rate}; it must be in [0, 1)")

    def drop_path(self, layer: int, depth: int) -> float:
        """Return the drop-path rate of a layer: a linear ramp from 0, not rescaled to the depth."""
        last = max((self.drop_path_depth or depth) - 1, 1)
        return self.drop_path_rate * layer / last

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able options."""
        return dataclasses.asdict(self)


def patch_grid(img_size: tuple[int, int], patch_size: int) -> tuple[int, int]:
    """Return the rows and columns of patches of an image.

    Raises:
        InputError: the patches don't divide the image.
    """
    height, width = img_size
    if patch_size < 1:
        raise InputError(f"patch_size is {patch_size}; it must be positive")
    if height % patch_size or width % patch_size:
        fits = "x".join(str(-(-side // patch_size) * patch_size) for side in img_size)
        raise InputError(
            f"img_size {height}x{width} is no multiple of patch_size {patch_size}; {fits} would be"
        )
    return height // patch_size, width // patch_size


@dataclass(frozen=True)
class PatchConfig(Config):
    """The options of a family whose patches have one size in all architectures.

    Raises:
        InputError: a value is of another type or out of range, or patches don't divide the image.
    """

    patch_size: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        patch_grid(self.img_size, self.patch_size)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return patch_grid(self.img_size, self.patch_size)


@dataclass(frozen=True)
class Kind(_Key):
    """The sizes of a unit: everything that its static module depends on, beside the config."""

    role: str
    sizes: tuple[tuple[str, int], ...]
    settings: tuple[tuple[str, float], ...] = ()

    @cached_property
    def size(self) -> dict[str, int]:
        """Axis → size."""
        return dict(self.sizes)

    @cached_property
    def setting(self) -> dict[str, float]:
        """Name → value of what is no size, such as drop_path."""
        return dict(self.settings)


@dataclass(frozen=True)
class Unit:
    """One unit of an architecture: where it lives in the supernet, and its kind.

    The unit at path "" is the root (stem and head). `model_path` is where it lives in the static
    model, which differs where an architecture leaves out blocks between others.
    """

    path: str
    kind: Kind
    model_path: str = ""

    def __post_init__(self) -> None:
        if not self.model_path:
            object.__setattr__(self, "model_path", self.path)


def _one_patch(arch: Arch) -> int:
    size: Any = arch.get("patch_size", PatchConfig.patch_size)
    return int(max(size, PatchConfig.patch_size))


@dataclass(frozen=True)
class Family:
    """A model family. The functions take the family's config; `units` lists the root first.

    - `genes`: the level of every gene; `optional` genes fix a config option of the same name.
    - `layouts(config, role, legacy)`: layout of each parameter of a unit, by name inside the unit.
    - `build(config, arch)`: the static model; `build_unit(config, kind)`: the module of one unit
      (of the root: the static model without its units).
    - `stem(root, images)` and `head(root, tokens)`: what the root does before and after its units.
    - `macs(config, kind, attention)`: exact multiply-adds of a unit for one image.
    - `resize(name, tensor, shape, old, new)`: a parameter of that shape for another image size, or
      None to start afresh.
    - `modeling`: the module that builds the static model on torch and timm alone; a copy of its
      file travels with saved models.
    - `sharing`: (axis, policy) where a prefix doesn't suit and the user names none.
    - `supernet`: (option, value) of supernets, where the user names none.
    - `increasing`: optional genes of the layers that increase from layer to layer.
    - `img_size(arch)`: the side of an image on which every gene has its effect.
    - `widths`: the genes that say how many channels, heads or hidden units there are.
    """

    name: str
    genes: Mapping[str, str]
    config: type[Config]
    units: Callable[[Any, Arch], tuple[Unit, ...]]
    layouts: Callable[[Any, str, bool], Mapping[str, str]]
    build: Callable[[Any, Arch], nn.Module]
    build_unit: Callable[[Any, Kind], nn.Module]
    build_args: Callable[[Any, Arch], dict[str, Any]]
    stem: Callable[[nn.Module, Tensor], Tensor]
    head: Callable[[nn.Module, Tensor], Tensor]
    macs: Callable[[Any, Kind, Attention], int]
    resize: Callable[[str, Tensor, tuple[int, ...], Any, Any], Tensor | None]
    resized_options: Callable[[Any, tuple[int, int]], dict[str, Any]]
    optional: tuple[str, ...] = ("patch_size", "head_dim")
    modeling: str = "vitnas.nn.vit"
    sharing: tuple[tuple[str, str], ...] = ()
    supernet: tuple[tuple[str, Any], ...] = ()
    increasing: tuple[str, ...] = ()
    img_size: Callable[[Arch], int] = _one_patch
    widths: tuple[str, ...] = ()


def make_config(family: Family, arch: Arch, options: Mapping[str, Any]) -> Any:
    """Return the family's config from options, and from the genes that fix some of them.

    Equal options give the same object.

    Raises:
        InputError: an unknown option, a wrong value, or one that contradicts the architecture.
    """
    values, config = dict(options), cast("Any", family.config)
    fields = config.__dataclass_fields__
    for name in arch:
        if name in fields and values.setdefault(name, arch[name]) != arch[name]:
            raise InputError(f"{name} is {values[name]}, but the architecture has {arch[name]}")
    if "img_size" in values:
        values["img_size"] = image_size(values["img_size"])
    try:
        return _config(family.name, config, **values)
    except TypeError:  # an option of a wrong type that has no hash
        return _config.__wrapped__(family.name, config, **values)


def image_size(value: Any) -> tuple[int, int]:
    """Return height and width, of one number for both or of a pair.

    Raises:
        InputError: it is neither.
    """
    pair = (value, value) if type(value) is int else value
    if not isinstance(pair, (list, tuple)) or [type(n) for n in pair] != [int, int]:
        raise InputError(f"img_size is {value!r}; it is one whole number, or height and width")
    return pair[0], pair[1]


@lru_cache(maxsize=4096, typed=True)
def _config(family: str, config: type[Config], /, **values: Any) -> Config:
    fields = config.__dataclass_fields__
    for name in values:
        if name not in fields:
            raise unknown(f"{family} option", name, fields)
    made = config(**values)
    return _first(made, tuple(type(getattr(made, name)) for name in fields))


@lru_cache(maxsize=4096)
def _first(config: Config, types: tuple[type, ...]) -> Config:
    """Return the first of equal configs: caches find an object itself faster than its equal."""
    return config


def check_genes(genes: Mapping[str, str], optional: Collection[str], arch: Arch) -> None:
    """Check that an architecture has these genes (name → level), with lists as long as the depth.

    Where depth is itself of level stage, its length says how many stages there are.

    Raises:
        InputError: it hasn't; every fault is named.
    """
    names = dict.fromkeys(arch)
    faults = [f"{name} is missing" for name in genes if name not in names]
    faults += [f"{name} is no gene" for name in names if name not in genes and name not in optional]
    depth, staged = arch.get("depth"), genes["depth"] == "stage"
    layers = depth if staged else (depth,)
    if not isinstance(layers, tuple) or not layers or not all(map(_is_count, layers)):
        wanted = "whole numbers from 1, one a stage" if staged else "a whole number from 1"
        faults.append(f"depth is {depth!r}, it must be {wanted}")
    else:
        for name, level in genes.items():
            if name in names and (fault := _gene_fault(name, arch[name], level, depth)):
                faults.append(fault)
    if faults:
        raise InputError(f"{arch.family} architecture: {'; '.join(faults)}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value > 0


def _gene_fault(name: str, value: Any, level: str, depth: Any) -> str | None:
    staged = isinstance(depth, tuple)
    stages = len(depth) if staged else 0
    shape = shape_at(level, depth, stages)
    if not has_shape(value, shape):
        if level == "block" and not staged and isinstance(value, tuple):
            return f"{name} has {len(value)} values, the depth is {depth}"
        each = {"stage": ", one a stage", "block": "" if staged else ", one a layer"}
        return f"{name} is {value!r}, it must be {describe(shape)}{each.get(level, '')}"
    values = (value,) if level == "net" else value
    for number in set().union(*values) if level == "block" and staged else set(values):
        if not isinstance(number, (int, float)) or not 0 < number < math.inf:
            return f"{name} is {value!r}, it must be positive"
        if number != int(number) and not name.endswith("_ratio"):
            return f"{name} is {value!r}, it must be whole"
    return None


def _check_types(config: Config) -> None:
    """Check that options whose default is a whole number, a number or a switch are the same."""
    words = {int: "a whole number", float: "a number", bool: "true or false"}
    for field in dataclasses.fields(config):
        value, wanted = getattr(config, field.name), type(field.default)
        fits = type(value) is wanted or (wanted is float and type(value) is int)
        if wanted in words and not fits:
            raise InputError(f"{field.name} is {value!r}; it must be {words[wanted]}")
