"""YAML of plain values, read strictly: recipes, search spaces, descriptions of architectures."""

from __future__ import annotations

import re
from typing import Any

import yaml

from vitnas.errors import InputError
from vitnas.files import DIGITS

LARGEST = 100_000
"""Values that a text may stand for once its aliases are written out."""


def parse(text: str, source: str) -> Any:
    """Read YAML whose numbers may also be written like 1e-3; `source` names it in messages.

    Raises:
        InputError: it is not valid YAML, has a tag that is no plain value, a key twice, a whole
            number of more than 30 characters, or aliases that stand for more than 100,000 values.
    """
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: no such date
        raise InputError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from error


class _Loader(yaml.SafeLoader):
    """Safe YAML without what plain YAML lets pass."""

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None and _count(node, {}) > LARGEST:
            raise yaml.YAMLError(f"its aliases stand for more than {LARGEST:,} values")
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Refuse repeated keys, of which plain YAML silently keeps the last."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"{key} is given twice{node.start_mark}")
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def _whole(loader: _Loader, node: yaml.ScalarNode) -> int:
    if len(node.value) > DIGITS:
        raise yaml.YAMLError(f"a whole number has more than {DIGITS} digits{node.start_mark}")
    value: int = loader.construct_yaml_int(node)
    return value


_Loader.add_constructor("tag:yaml.org,2002:int", _whole)
# YAML 1.1 reads 1e-3 as a string.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Return the values below a node, each alias as often as it is used; it may hold itself."""
    if id(node) not in known:
        known[id(node)] = LARGEST + 1  # until it is counted: whoever meets it again is inside it
        parts = [] if isinstance(node, yaml.ScalarNode) else node.value
        inside = (one for part in parts for one in (part if isinstance(part, tuple) else (part,)))
        known[id(node)] = 1 + sum(_count(one, known) for one in inside)
    return known[id(node)]
