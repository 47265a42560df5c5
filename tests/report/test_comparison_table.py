"""Comparisons as the terminal shows them: units, counts, intervals, and no more than was found."""

import io
import math
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from kdmri_monai.evaluation.comparison import Comparison, Level, Row
from kdmri_monai.evaluation.intervals import Interval
from kdmri_monai.report.tables import comparison_table, probability, seeds_table


def interval(estimate, low, high):
    return Interval(estimate, low, high, 0.95, 2000, 37)


def level(n, values, difference=None, p=math.nan, seeds=1):
    metrics = dict(zip(("accuracy", "balanced_accuracy", "macro_f1"), values, strict=True))
    of_seeds = tuple({"balanced_accuracy": 0.8 + 0.011 * seed} for seed in range(seeds))
    differences = difference and {"balanced_accuracy": difference}
    return Level(n, 37, metrics, of_seeds, differences, p, min(1.0, 2 * p))


def row(name, difference=None, p=math.nan, seeds=(0,)):
    shares = [interval(v, v - 0.05, v + 0.02) for v in (0.912, 0.9, 0.887)]
    slices = level(1234, shares, difference, p, len(seeds))
    patients = level(48, [interval(1.0, 1.0, 1.0)] * 3, difference, p, len(seeds))
    return Row(name, (Path(name),), seeds, (2,), slices, patients)


def rendered(table, width=80):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def words(comparison):
    return " ".join(rendered(comparison_table(comparison)).split())


@pytest.fixture
def comparison():
    runs = (
        row("teacher", interval(0.031, -0.004, 0.066), 0.034),
        row("baseline"),
        row("dis[red]tilled", interval(0.1234, 0.1111, 0.2222), 0.0004),
    )
    return Comparison("test", "baseline", runs)


@pytest.fixture
def arms():
    seeds = (0, 1, 2)
    rows = (
        row("teacher", interval(0.031, -0.004, 0.066), 0.034),
        row("baseline", seeds=seeds),
        row("distilled", interval(-0.1234, -0.2222, -0.1111), 0.0004, seeds),
    )
    return Comparison("test", "baseline", rows, "arm", fold_count=5)


def test_shares_are_percent_and_differences_points_with_p_and_holm(comparison):
    lines = rendered(comparison_table(comparison)).splitlines()
    teacher = next(at for at, line in enumerate(lines) if "teacher" in line)
    assert lines[teacher].split() == ["teacher", "91.2", "90.0", "88.7", "~", "+3.1", "0.034"]
    bounds = ["86.2-93.2", "85.0-92.0", "83.7-90.7", "-0.4", "to", "+6.6"]
    assert lines[teacher + 1].split() == [*bounds, "0.068"]
    assert lines[teacher + 2].split() == ["baseline", "91.2", "90.0", "88.7", "reference"]
    assert lines[teacher + 4].split()[-2:] == ["+12.3", "<0.001"]


def test_a_difference_that_includes_zero_is_marked_and_only_that(comparison):
    text = rendered(comparison_table(comparison))
    assert text.count("~ +3.1") == 2
    assert text.count("~ ") == 2
    assert "Marked ~: the interval includes zero, so no difference is shown." in " ".join(text.split())
    assert "Marked" not in words(replace(comparison, rows=comparison.rows[1:]))


def test_every_count_is_told(comparison, arms):
    text = rendered(comparison_table(comparison))
    assert text.index("1,234 slices") < text.index("48 patients")
    told = " ".join(text.split())
    assert "95 % intervals, bootstrap over 37 patient families, 2,000 replicates." in told
    assert "minus that of baseline" in told
    assert "adjusted by Holm for 2 comparisons" in told
    assert "An interval without width" in told
    assert "seed" not in told
    told = words(arms)
    assert "fold 2 (1 of 5 folds)" in told
    assert "seeds 0, 1, 2" in told
    assert "means over the seeds" in told
    assert "of other patients, not of other seeds" in told


@pytest.mark.parametrize("width", [80, 120])
def test_eighty_columns_are_enough_and_names_are_not_markup(comparison, arms, width):
    for text in (rendered(comparison_table(comparison), width), rendered(comparison_table(arms), width)):
        assert max(map(len, text.splitlines())) <= width
        assert "\N{HORIZONTAL ELLIPSIS}" not in text
        assert "100.0-100.0" in text
        assert "-22.2 to -11.1" in text or "+11.1 to +22.2" in text
        assert "seeds 0, 1, 2" in text or "dis[red]tilled" in text


def test_a_missing_number_is_a_dash():
    missing = level(1, [interval(0.5, math.nan, math.nan)] * 3)
    text = rendered(
        comparison_table(
            Comparison("test", "only", (Row("only", (Path("only"),), (None,), (None,), missing, missing),))
        )
    )
    assert "\N{EN DASH}-\N{EN DASH}" in text
    assert "nan" not in text
    assert "without width" not in text
    assert "Difference" not in text
    assert "None" not in text


def test_a_network_that_was_given_the_mask_is_named_as_such(comparison):
    assert "given" not in words(comparison)
    seeing = replace(comparison, rows=(*comparison.rows, replace(row("gt"), given="the tumour mask: distance")))
    assert "gt was given the tumour mask: distance: no one has that when a patient comes." in words(seeing)
    assert rendered(comparison_table(seeing)).count("given the mask") == 2


def test_a_leaky_run_is_named_as_such(comparison):
    assert "leaky" not in words(comparison)
    leaky = replace(row("random"), leaky="9 of 37 patient families were trained on")
    told = words(replace(comparison, rows=(*comparison.rows, leaky)))
    assert "random is leaky, its numbers mean little: 9 of 37 patient families were trained on." in told


def test_the_values_of_the_seeds_stand_in_a_table_of_their_own(comparison, arms):
    assert seeds_table(comparison) is None
    lines = [line.split() for line in rendered(seeds_table(arms)).splitlines()]
    assert ["arm", "seed", "0", "seed", "1", "seed", "2"] in lines
    assert ["teacher", "80.0", "/", "80.0"] in lines
    assert ["distilled", "80.0", "/", "80.0", "81.1", "/", "81.1", "82.2", "/", "82.2"] in lines


def test_small_p_values_are_not_zero():
    assert [probability(p) for p in (1.0, 0.0014, 0.0004, math.nan)] == ["1.000", "0.001", "<0.001", "\N{EN DASH}"]
