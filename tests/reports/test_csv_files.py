"""Tables that a spreadsheet opens without running what is in them."""

import io

import pandas as pd
import pytest

from reports.csv_files import defuse, to_csv


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\n=1", "  =1", "\uff1d1"])
def test_a_text_that_begins_like_a_formula_is_defused(text: str) -> None:
    assert str(defuse(text)).startswith("'")


@pytest.mark.parametrize("value", [-0.5, 3, None, True, "plain", "a=b", ""])
def test_everything_else_stays_as_it_is(value: object) -> None:
    assert defuse(value) == value


def test_headings_are_defused_and_numbers_can_be_read_back() -> None:
    table = pd.DataFrame({"=cmd": ["=x", "y"], "value": [-0.125, float("nan")]})

    text = to_csv(table)

    assert text == "'=cmd,value\n'=x,-0.125\ny,\n"
    assert pd.read_csv(io.StringIO(text))["value"][0] == -0.125
