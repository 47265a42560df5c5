"""What the files say about the results of a run, in sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdmri_monai.report.number_words import in_words

NOT_EXAMINED = "Not examined; `kdmri examine` does."
MEASURES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "mcc": "Matthews correlation, times 100",
    "macro_auroc": "area under the ROC curve, mean of the classes",
}
"""Metrics of ``test_metrics.json`` that a card shows, and their names for people."""


def result_facts(
    metrics: Mapping[str, Any], sections: Mapping[str, Mapping[str, Any]], validation: Mapping[str, float]
) -> dict[str, str]:
    """Performance, uncertainty, robustness, localisation and failures.

    Args:
        metrics: Content of ``test_metrics.json``.
        sections: Sections of the evidence, none where the run was not examined.
        validation: Metrics on the validation slices at the chosen epoch, by name.

    Returns:
        Sentences by name of the fact.
    """
    interval, slices, patients = metrics["interval"], metrics["slices"], metrics["patients"]
    shown = ", ".join(f"{name} {100 * value:.1f} %" for name, value in validation.items()) or "not recorded"
    return {
        "metrics": (
            "By slice and by patient (mean log-probability over the slices of a patient): accuracy, balanced accuracy, "
            "macro F1, Matthews correlation, areas under the ROC and precision-recall curves, log loss, Brier score, "
            "calibration error; sensitivity, specificity and precision of every class."
        ),
        "uncertainty": (
            f"{100 * interval['level']:.0f} % intervals: {interval['method']}; {interval['replicates']} replicates, "
            f"seed {interval['seed']}; {slices['families']} families."
        ),
        "performance": f"Validation: {shown}. Test, slices (n = {slices['n']}): {_measures(slices)}. "
        f"Test, patients (n = {patients['n']}): {_measures(patients)}.",
        "accuracy": " ".join(_of_class(name, values) for name, values in slices["per_class"].items()),
        "failures": failures(slices["confusion_matrix"], metrics["classes"]),
        "robustness": robustness(sections.get("robustness")),
        "explainability": explainability(sections.get("localisation")),
    }


def percent(number: Mapping[str, float | None], signed: bool = False) -> str:
    """A ``num`` of a JSON file as per cent with its bounds."""
    bounded = tuple(
        float("nan") if number[key] is None else float(number[key] or 0) for key in ("value", "low", "high")
    )
    return in_words((bounded[0], bounded[1], bounded[2]), scale=100, digits=1, signed=signed)


def failures(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    """How many slices are decided wrongly, and which mistake is the most frequent."""
    wrong = {(true, said): n for true, row in enumerate(confusion) for said, n in enumerate(row) if true != said}
    total, every = sum(wrong.values()), sum(map(sum, confusion))
    if not total:
        return f"None of {every} slices is decided wrongly."
    (true, said), most = max(wrong.items(), key=lambda item: item[1])
    return (
        f"{total} of {every} slices are decided wrongly; the most frequent mistake takes {classes[true]} for "
        f"{classes[said]} ({most} slices). The report shows them one by one."
    )


def robustness(section: Mapping[str, Any] | None) -> str:
    """What is lost under corruptions."""
    if section is None:
        return NOT_EXAMINED
    worst = max(section["corruptions"], key=lambda one: one["relative_degradation"]["value"] or 0.0)
    return (
        f"{len(section['corruptions'])} corruptions at five severities, {section['slices']} slices: of the balanced "
        f"accuracy above chance {percent(section['mean_relative_degradation'])} % is lost on average, most under "
        f"{worst['title'].lower()} ({percent(worst['relative_degradation'])} %)."
    )


def explainability(section: Mapping[str, Any] | None) -> str:
    """Where the network looks."""
    if section is None or not section.get("methods"):
        return NOT_EXAMINED if section is None else f"No heat map: {section.get('skipped', 'none could be made')}."
    parts = []
    for one in section["methods"]:
        parts.append(
            f"{one['method'].replace('_', ' ')} at `{one['layer']}`: {percent(one['energy'])} % of the energy lies in "
            f"the tumour, which covers {percent(one['area'])} % of the image; the highest place hits it in "
            f"{percent(one['pointing_game'])} % of the slices (chance {percent(one['pointing_chance'])} %)."
        )
    return " ".join(parts)


def _measures(level: Mapping[str, Any]) -> str:
    return ", ".join(f"{title} {percent(level[name])}" for name, title in MEASURES.items())


def _of_class(name: str, values: Mapping[str, Any]) -> str:
    return (
        f"{name.capitalize()} (n = {values['n']} slices): sensitivity {percent(values['sensitivity'])} %, "
        f"specificity {percent(values['specificity'])} %."
    )
