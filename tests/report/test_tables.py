from __future__ import annotations

from io import StringIO

from rich.console import Console

from vitnas.report.tables import Row, as_text, comparison_table

ROWS = (
    Row("smallest", 10_522, 130_000, 94.1234, 93.0),
    Row("searched", 59_658, 1_030_000, 98.2, 97.5, 98.61),
)


def shown(rows: tuple[Row, ...], width: int = 80) -> str:
    console = Console(file=StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(comparison_table(rows))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_cells_are_rounded_and_gaps_marked() -> None:
    headings, lines = as_text(ROWS)
    assert headings[3:] == ("inherited,\nsearch split", "inherited,\ntest", "fine-tuned,\ntest")
    assert lines[0] == ("smallest", "10.5k", "130k", "94.12", "93.00", "–")
    assert lines[1] == ("searched", "59.7k", "1.03M", "98.20", "97.50", "98.61")


def test_columns_that_no_net_fills_are_left_out() -> None:
    headings, lines = as_text([Row("a", params=5)])
    assert headings == ("net", "params")
    assert lines == (("a", "5"),)
    assert "retrained,\ntest" in as_text([Row("a", retrained_test=1.0)])[0]


def test_the_table_fits_a_terminal_of_80_columns() -> None:
    text = shown(ROWS)
    assert max(map(len, text.splitlines())) <= 80
    assert all(part in text for part in ("searched", "59.7k", "98.61", "fine-tuned", "percent"))


def test_names_are_neither_markup_nor_control_codes() -> None:
    text = shown((Row("[red]x[/red] \x1b[31m", 1),))
    assert "[red]x[/red] ?[31m" in text
    assert "\x1b[31m" not in text
