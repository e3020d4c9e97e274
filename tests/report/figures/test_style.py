from __future__ import annotations

import html

from hypothesis import given
from hypothesis import strategies as st

from vitnas.report.figures.style import finite, label, plain, quantity


def test_quantities_have_three_significant_digits() -> None:
    given = (0, 7, 912, 54_321, 999_499, 999_500, 5_867_944, 53_691_688, 1_481_938_432, 4e12)
    expected = ["0", "7", "912", "54.3k", "999k", "1M", "5.87M", "53.7M", "1.48G", "4000G"]
    assert [quantity(value) for value in given] == expected
    assert quantity(0.0123) == "0.0123"


def test_plain_is_one_printable_line() -> None:
    assert plain(" a\nb\t c ") == "a b c"
    assert plain("\x1b[31mred\x00\udcff") == "?[31mred??"
    assert plain("x" * 100, 10) == "xxxxxxxxx…"


@given(st.text())
def test_a_label_is_read_back_as_the_text_itself(text: str) -> None:
    made = label(text)
    assert "<" not in made
    assert ">" not in made
    assert html.unescape(made) == plain(text) or "&" in plain(text)
    assert made.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == plain(text)


def test_finite_tells_what_can_be_drawn() -> None:
    assert [finite(v) for v in (1, 0.5, -3)] == [True, True, True]
    wrong = (float("nan"), float("inf"), 10**400, "1", None, [1])
    assert not any(finite(value) for value in wrong)
