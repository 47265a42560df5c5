"""The page of a study in Markdown: what was compared, with intervals, what was reached, and what has failed."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kdmri_monai.evaluation.comparison_rows import METRIC
from kdmri_monai.report.number_words import DASH, in_words
from kdmri_monai.report.tables import probability
from kdmri_monai.study.results_figures import bounded
from kdmri_monai.study.results_goals import GOALS, Goal

LEVELS = ("slices", "patients")
LISTED = 5
"""Patients with most mistakes that the page names; ``results.json`` has ten."""

VERDICTS = {True: " **met**", False: " missed", None: ""}


def study_page(results: Mapping[str, Any], comparison: Mapping[str, Any] | None, figures: Sequence[str]) -> str:
    """The page.

    Args:
        results: Content of ``results.json``.
        comparison: Content of ``comparison.json``; ``None`` where no arm is complete.
        figures: Names of the figures beside the page.

    Returns:
        Markdown.
    """
    study = results["study"]
    blocks = [f"# Study {study.get('name', '')}".rstrip(), _unfinished(results)]
    if comparison is None:
        blocks.append("No arm is complete: there is nothing to compare.")
    else:
        blocks += [_facts(results, comparison), _compared(comparison), "## Goals", _goals(results)]
        blocks += ["## By fold", _folds(results)]
        known = all("mistakes" in arm for arm in results["arms"])  # not in results of before 2026-11-23
        blocks += ["## Mistakes", _mistakes(results)] if known else []
        blocks += ["## Figures", "\n".join(f"![{name}]({name})" for name in figures)] if figures else []
    blocks += ["## Configuration", f"```json\n{json.dumps(study, indent=1)}\n```"]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _facts(results: Mapping[str, Any], comparison: Mapping[str, Any]) -> str:
    first, interval = comparison["rows"][0], comparison["interval"]
    sizes = f"{first['slices']['n']:,} slices of {first['patients']['n']:,} patients, {first['slices']['families']} "
    settings = ", ".join(
        f"`{name}` {json.dumps(value)}" for name, value in results["study"].get("settings", {}).items()
    )
    sentences = [
        f"Every patient is tested in the fold that was held out: {sizes}families.",
        f"{_listed('Fold', results['folds'])}; {_listed('seed', results['seeds'])}. Of every arm alike: {settings}.",
        f"Per cent, {100 * interval['level']:g} % intervals over families ({interval['replicates']:,} replicates).",
        *(
            ["Mean of the seeds; the interval is of other patients, not of other seeds."]
            if len(results["seeds"]) > 1
            else []
        ),
        f"Differences are paired, to `{comparison['reference']}`; p by permutation of families, in brackets adjusted "
        "by Holm for all rows.",
    ]
    for row in comparison["rows"]:
        for kind, words in (("given", "was given"), ("leaky", "is leaky:"), ("unsure", "may be too good:")):
            sentences += [f"`{row['name']}` {words} {row[kind]}."] if row[kind] else []
    return "\n".join(sentences)


def _compared(comparison: Mapping[str, Any]) -> str:
    minus = f"minus {comparison['reference']}"
    head = ["", *(word for level in LEVELS for word in (f"balanced accuracy, {level}", minus, "p"))]
    lines = []
    for row in comparison["rows"]:
        cells = [row["name"]]
        for level in (row[name] for name in LEVELS):
            cells.append(_percent(level["metrics"][METRIC]))
            cells += (
                ["", ""] if level["differences"] is None else [_points(level["differences"][METRIC]), _tested(level)]
            )
        lines.append(cells)
    return _table(head, lines)


def _goals(results: Mapping[str, Any]) -> str:
    head = ["", "parameters", *(f"{goal.words} ({_bound(goal)})" for goal in GOALS), "the same without temperature"]
    lines = [
        [arm["name"], f"{arm['parameters']:,}" if arm["parameters"] else DASH]
        + [_reached(goal, arm) for goal in GOALS]
        + [_percent(arm["numbers"].get("ece_before"))]
        for arm in results["arms"]
    ]
    return f"{_table(head, lines)}\n\n{_explained(results)}"


def _explained(results: Mapping[str, Any]) -> str:
    pairs = [f"`{arm['name']}` minus `{arm['alone']}`" for arm in results["arms"] if arm["alone"]]
    gain = f"Gain by the teacher, points: {', '.join(pairs)}; " if pairs else ""
    return (
        f"{gain}a goal is met by the estimate{', a gain only where its interval excludes zero too' if pairs else ''}. "
        f"{DASH}: not measured, or not defined. Calibration: expected error of 15 bins over the pooled slices; "
        "temperatures are fitted to the validation patients of each run. Grad-CAM and accuracy with the tumour "
        "inpainted (balanced) are from `kdmri examine`: mean over the runs, weighted by slices, without an interval."
    )


def _folds(results: Mapping[str, Any]) -> str:
    arms = dict.fromkeys(run["arm"] for run in results["runs"])
    lines = []
    for arm in arms:
        cells = [arm]
        for fold in results["folds"]:
            own = [run for run in results["runs"] if (run["arm"], run["fold"]) == (arm, fold)]
            cells.append(" / ".join(_mean([run[level] for run in own]) for level in LEVELS))
        own = [run["best_epoch"] for run in results["runs"] if run["arm"] == arm and run["best_epoch"] is not None]
        cells += [_range(own), _converged([run for run in results["runs"] if run["arm"] == arm])]
        lines.append(cells)
    words = (
        "Balanced accuracy by slice / by patient, per cent, mean over the seeds; epochs whose weights were kept; "
        f"epochs after which a run is as good on its validation slices as the best epoch of `{results['reference']}`."
    )
    head = ["", *(f"fold {fold}" for fold in results["folds"]), "best epoch", "as good after"]
    return f"{words}\n\n{_table(head, lines)}"


def _range(epochs: Sequence[int]) -> str:
    return DASH.join(map(str, sorted({min(epochs), max(epochs)}))) if epochs else DASH


def _converged(runs: Sequence[Mapping[str, Any]]) -> str:
    if not all("epochs_to_reference" in run for run in runs):
        return DASH  # a teacher, or results of before 2026-11-23
    reached = [run["epochs_to_reference"] for run in runs if run["epochs_to_reference"] is not None]
    never = len(runs) - len(reached)
    return _range(reached) + (f", never in {never} of {len(runs)}" if never else "")


def _mistakes(results: Mapping[str, Any]) -> str:
    head = ["", "wrong slices", "patients that hold half of them", "wrong for the teacher too", "most of them"]
    lines = []
    for arm in results["arms"]:
        own = arm["mistakes"]
        taught = DASH if own["taught"] is None else f"{100 * own['taught']:.0f}"
        worst = "; ".join(_worst(one) for one in own["worst"][:LISTED])
        wrong, half = f"{own['wrong']:g} of {own['slices']:,}", f"{own['half_in']} of {own['patients']}"
        lines.append([arm["name"], wrong, half, taught, worst])
    words = "Wrong slices, mean over the seeds; per cent of them that the teacher has wrong too; patients with most."
    return f"{words}\n\n{_table(head, lines)}"


def _worst(one: Mapping[str, Any]) -> str:
    return f"{one['patient']}: {one['wrong']:g} of {one['slices']}, {one['label']} taken for {one['taken_for']}"


def _unfinished(results: Mapping[str, Any]) -> str:
    runs = results["unfinished"]
    if not runs:
        return "All runs are finished."
    lines = [f"- `{run['name']}`: {run['stage']}, {run['epochs']} epochs. {run['failure']}".rstrip() for run in runs]
    return "**Not finished**; arms that need these runs are left out.\n\n" + "\n".join(lines)


def _reached(goal: Goal, arm: Mapping[str, Any]) -> str:
    number = bounded(arm["numbers"].get(goal.key))
    signed, digits = goal.excludes_zero, 1
    return in_words(number, goal.scale, digits, signed) + VERDICTS[goal.is_met(arm)]


def _bound(goal: Goal) -> str:
    sign = "\N{LESS-THAN OR EQUAL TO}" if goal.most else "\N{GREATER-THAN OR EQUAL TO}"
    special = goal.for_transformers
    words = "" if special is None else f", transformers {sign} {goal.scale * special:g}"
    return f"{sign} {goal.scale * goal.bound:g}{words}"


def _percent(number: Mapping[str, Any] | None) -> str:
    return in_words(bounded(number), 100, 1)


def _points(number: Mapping[str, Any]) -> str:
    return in_words(bounded(number), 100, 1, signed=True)


def _tested(level: Mapping[str, Any]) -> str:
    p, adjusted = (probability(math.nan if level[name] is None else level[name]) for name in ("p", "p_holm"))
    return f"{p} ({adjusted})"


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{100 * math.fsum(known) / len(known):.1f}" if known else DASH


def _listed(word: str, numbers: Sequence[int]) -> str:
    return f"{word}{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(_rows(head, lines))


def _rows(head: Sequence[str], lines: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for cells in lines:
        yield f"| {' | '.join(cells)} |"
