"""Damage for files: bytes cut out, turned and put in, and values that programs trip over."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

fuzz = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def damaged(draw: st.DrawFn, sound: bytes) -> bytes:
    """Bytes cut out, turned or put in at a few places."""
    content = bytearray(sound)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(content)))
        length = draw(st.integers(0, 40))
        new = draw(st.one_of(st.just(b""), st.binary(max_size=40)))
        content[at : at + length] = new
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


HOSTILE: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0, 10**30, 10**400, 1e308, float("nan"), float("inf"), "",
     "../../etc/passwd", "\x00", "\x1b[31m", "<script>alert(1)</script>", "x" * 10_000,
     [], {}, [[[[]]]], {"a": {"b": {}}}, [1] * 999]
)  # fmt: skip


@st.composite
def twisted(draw: st.DrawFn, sound: Any) -> Any:
    """A value of JSON with a few of its parts replaced, taken out or added."""
    value = {"root": copy.deepcopy(sound)}
    for _ in range(draw(st.integers(1, 3))):
        place: Any = value
        key: Any = "root"
        while isinstance(place[key], (dict, list)) and place[key] and draw(st.integers(0, 4)):
            place = place[key]
            keys = sorted(place) if isinstance(place, dict) else range(len(place))
            key = draw(st.sampled_from(keys))
        if key != "root" and draw(st.integers(0, 3)) == 0:
            del place[key]
            if not place:
                break
        else:
            place[key] = copy.deepcopy(draw(HOSTILE))
    return value["root"]
