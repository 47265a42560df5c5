import io
import math
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from kdmri_monai.evaluation.comparison import Comparison, Level, Row
from kdmri_monai.evaluation.intervals import Interval
from kdmri_monai.report.tables import comparison_table


def interval(estimate, low, high):
    return Interval(estimate, low, high, 0.95, 2000, 37)


def row(name, difference=None):
    slices = Level(1234, *(interval(v, v - 0.05, v + 0.02) for v in (0.912, 0.9, 0.887)), difference)
    patients = Level(37, *(interval(1.0, 1.0, 1.0) for _ in range(3)), difference)
    return Row(name, Path(name), slices, patients)


def rendered(comparison, width=80):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(comparison_table(comparison))
    return console.export_text()


@pytest.fixture
def comparison():
    runs = row("teacher", interval(0.031, -0.004, 0.066)), row("baseline"), row("dis[red]tilled", interval(0, 0, 0))
    return Comparison("test", "baseline", runs)


def test_shares_are_percent_and_differences_points(comparison):
    lines = rendered(comparison).splitlines()
    teacher = next(at for at, line in enumerate(lines) if "teacher" in line)
    assert lines[teacher].split() == ["teacher", "91.2", "90.0", "88.7", "+3.1"]
    assert lines[teacher + 1].split() == ["86.2-93.2", "85.0-92.0", "83.7-90.7", "-0.4", "to", "+6.6"]
    assert lines[teacher + 2].split() == ["baseline", "91.2", "90.0", "88.7", "reference"]


def test_both_levels_say_their_n_and_the_caption_the_families(comparison):
    text = rendered(comparison)
    assert text.index("by slice, n = 1,234") < text.index("by patient, n = 37")
    assert "95 % intervals, bootstrap over 37 patient families" in text
    assert "minus that of baseline" in " ".join(text.split())
    assert "An interval without width" in " ".join(text.split())


def test_eighty_columns_are_enough_and_names_are_not_markup(comparison):
    text = rendered(comparison)
    assert max(map(len, text.splitlines())) <= 80
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    assert "dis[red]tilled" in text


def test_a_missing_number_is_a_dash():
    missing = interval(0.5, math.nan, math.nan)
    level = Level(1, missing, missing, missing, None)
    text = rendered(Comparison("test", "only", (Row("only", Path("only"), level, level),)))
    assert "\N{EN DASH}-\N{EN DASH}" in text
    assert "nan" not in text
    assert "without width" not in text


def test_a_network_that_was_given_the_mask_is_named_as_such(comparison):
    assert "given" not in rendered(comparison)
    seeing = Comparison("test", "baseline", (*comparison.rows, replace(row("gt"), given="the tumour mask: distance")))
    words = " ".join(rendered(seeing).split())
    assert "gt was given the tumour mask: distance: no one has that when a patient comes." in words
