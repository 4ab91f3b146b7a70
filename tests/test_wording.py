"""Numbers as people read them."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoflop import wording


@pytest.mark.parametrize(
    ("size", "text"), [(5e6, "5 MB"), (999e6, "999 MB"), (12e9, "12.0 GB"), (3.84e14, "384.0 TB"), (0, "0 MB")]
)
def test_bytes_have_a_unit(size: float, text: str) -> None:
    assert wording.gigabytes(size) == text


@pytest.mark.parametrize(
    ("share", "text"), [(1.0, "100 %"), (0.999, "100 %"), (0.452, "45 %"), (0.0045, "0.45 %"), (0.0, "0 %")]
)
def test_a_share_is_in_two_digits(share: float, text: str) -> None:
    assert wording.percent(share, None) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "3 s"), (75, "1 min 15 s"), (3600, "1 h 0 min"), (60 * 3600, "2.5 days")]
)
def test_a_time_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert wording.clock(seconds) == text


@pytest.mark.parametrize(
    ("value", "prose", "command"),
    [
        (2e10, "2·10¹⁰", "2e10"),
        (1e10, "10¹⁰", "1e10"),
        (2.5, "2.5", "2.5"),
        (2048, "2050", "2e3"),
        (0.00031, "3.1·10⁻⁴", "0.00031"),
    ],
)
def test_a_number_is_written_for_prose_and_for_the_command_line(value: float, prose: str, command: str) -> None:
    assert wording.number(value) == prose
    assert wording.short(value) == command


def test_a_formula_is_quoted_in_whichever_row_and_column_it_stands() -> None:
    names = ["name", "-delta", "x"]
    rows = [("a", 1.0, None), ("a", "=N()", -2), ("-3", -3.0, "a"), ([1], True, "+x"), ("'=x", 2, "b")]
    lines = wording.csv_text(names, [dict(zip(names, row, strict=True)) for row in rows]).splitlines()
    assert lines == ["name,'-delta,x", "a,1.0,", "a,'=N(),-2", "-3,-3.0,a", "[1],True,'+x", "''=x,2,b"]


cells = st.none() | st.booleans() | st.integers() | st.floats() | st.text("a,=-'\"\r\n 1", max_size=3)


@settings(derandomize=True, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abcd"), cells | st.lists(st.integers(), max_size=2)), max_size=8))
def test_a_row_has_the_text_that_csv_gives_it(rows: list[dict[str, object]]) -> None:
    names, text = sorted({name for row in rows for name in row}), io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([names, *([wording.spreadsheet(row.get(name)) for name in names] for row in rows)])
    assert wording.csv_text(names, rows) == text.getvalue()
