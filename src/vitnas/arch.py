"""An architecture: one point of a search space, as an immutable value.

Nothing else in the package remembers an architecture: it travels as an argument.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from vitnas.errors import InputError, check_type

Scalar: TypeAlias = int | float | str
Value: TypeAlias = "Scalar | tuple[Value, ...]"

VERSION = 1


class Arch(Mapping[str, Value]):
    """The values of all genes of one architecture, for example::

        Arch("autoformer", depth=2, embed_dim=192, num_heads=(3, 4), mlp_ratio=(3.5, 4.0))

    Genes that differ per layer are tuples as long as the depth (tuples of tuples, one per stage,
    in hierarchical families), so an architecture holds no gene of a layer that it does not have.
    A whole number is kept as an int (4.0 as 4), so equal genes are the same in text and use too.
    Read a gene as `arch["depth"]` or `arch.depth`.

    Raises:
        InputError: a value is neither a finite number, a string nor a (nested) sequence of them.
    """

    __slots__ = ("_genes", "_hash", "family")

    family: str
    _genes: dict[str, Value]
    _hash: int

    def __init__(self, family: str, /, **genes: Any) -> None:
        values = {name: _freeze(name, value) for name, value in genes.items()}
        object.__setattr__(self, "family", family)
        object.__setattr__(self, "_genes", values)
        object.__setattr__(self, "_hash", hash((family, frozenset(values.items()))))

    def __getitem__(self, name: str) -> Value:
        return self._genes[name]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._genes:
            raise AttributeError(f"this {self.family} architecture has no gene {name!r}")
        return self._genes[name]

    def __contains__(self, name: object) -> bool:
        return name in self._genes

    def __iter__(self) -> Iterator[str]:
        return iter(self._genes)

    def __len__(self) -> int:
        return len(self._genes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Arch):
            return NotImplemented
        return self.family == other.family and self._genes == other._genes

    def __hash__(self) -> int:
        return self._hash

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("an Arch is immutable; use arch.replace(gene=value)")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("an Arch is immutable; its genes can't be deleted")

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.family, self._genes)

    def __repr__(self) -> str:
        genes = ", ".join(f"{name}={value!r}" for name, value in self._genes.items())
        return f"Arch({self.family!r}, {genes})"

    def replace(self, **genes: Any) -> Arch:
        """Return the same architecture with some genes changed."""
        return Arch(self.family, **{**self._genes, **genes})

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able record with the format's version inside."""
        return {"version": VERSION, "family": self.family, "genes": _thaw(self._genes)}

    def to_json(self) -> str:
        """Return the record as one line of JSON."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, record: object) -> Arch:
        """Read what `to_dict` wrote.

        Raises:
            InputError: the record is not an architecture, or of a version this package can't read.
        """
        if not isinstance(record, dict) or not {"version", "family", "genes"} <= record.keys():
            raise InputError("not an architecture: it needs the fields version, family and genes")
        if record["version"] != VERSION:
            raise InputError(
                f"this architecture has format version {record['version']!r}, "
                f"this vitnas reads version {VERSION}"
            )
        family, genes = record["family"], record["genes"]
        if not isinstance(family, str) or not isinstance(genes, dict):
            raise InputError("not an architecture: family must be a string and genes a mapping")
        if not all(isinstance(name, str) for name in genes):
            raise InputError("not an architecture: the names of genes must be strings")
        try:
            return cls(family, **genes)
        except RecursionError as error:
            raise InputError("not an architecture: its genes are nested too deeply") from error

    @classmethod
    def from_json(cls, text: str) -> Arch:
        """Read what `to_json` wrote.

        Raises:
            InputError: the text is not JSON, or not an architecture.
        """
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"not an architecture: {error}") from error
        return cls.from_dict(record)


def check_arch(arch: object) -> None:
    """Refuse what is no `Arch`, such as another system's sample or a name.

    Raises:
        InputError: it is none.
    """
    hint = (
        "vitnas.arch(NAME) has a published one, vitnas.interop.nni.arch(SAMPLE) reads one of "
        "NNI's; so do cream, mmrazor, s3 and vitas"
    )
    check_type("an architecture", arch, Arch, hint)


def _rebuild(family: str, genes: dict[str, Value]) -> Arch:
    return Arch(family, **genes)


def _freeze(name: str, value: Any) -> Value:
    if isinstance(value, (list, tuple)):
        return tuple([item if type(item) is int else _freeze(name, item) for item in value])
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"gene {name} is {value!r}; a number must be finite")
        return int(value) if value.is_integer() else value
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise InputError(
            f"gene {name} is {value!r}; a gene is a number, a string or a sequence of them"
        )
    return value


def _thaw(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _thaw(item) for name, item in value.items()}
    return [_thaw(item) for item in value] if isinstance(value, tuple) else value
