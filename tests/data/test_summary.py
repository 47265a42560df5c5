"""Counts by hand, and what a person sees of them."""

import io

from rich.console import Console

from kdmri_monai.data.findings import Finding, Remark, group_findings
from kdmri_monai.data.records import SliceRecord
from kdmri_monai.data.summary import count_slices, render_summary

RECORDS = [
    SliceRecord("1", 0, 0, "P1", "cjdata/PID", "a/1.mat", (512, 512), "0" * 64, True, "axial"),
    SliceRecord("2", 1, 0, "P1", "cjdata/PID", "a/2.mat", (512, 512), "1" * 64, True, "axial"),
    SliceRecord("3", 2, 1, "MR1A", "cjdata/PID", "a/3.mat", (256, 256), "2" * 64, False, "coronal"),
    SliceRecord("4", 3, 1, "MR1B", "file name", "a/4.mat", (512, 512), "3" * 64, False, None),
]
SPLIT = {"1": "training", "2": "training", "3": "test", "4": "test"}
FAMILIES = {"P1": "P1", "MR1A": "MR1", "MR1B": "MR1"}
SKIPPED = [
    *(Finding(f"a/{n}.mat", "cjdata/label", f"is {n}, allowed are 1..3") for n in (7, 8, 9, 10)),
    Finding("[bold]x[/bold].mat", "file", "is empty"),
]


def count(skipped=SKIPPED, remarks=()):
    return count_slices(RECORDS, SPLIT, FAMILIES, skipped, remarks)


def test_slices_patients_and_families_are_counted_by_class_and_split():
    counts = count()
    assert (counts["slices"], counts["patients"], counts["families"], counts["with_mask"]) == (4, 3, 2, 2)
    table = counts["table"]
    assert table["training"]["meningioma"] == {"slices": 2, "patients": 1, "families": 1}
    assert table["test"]["glioma"] == {"slices": 2, "patients": 2, "families": 1}
    assert table["test"]["meningioma"] == {"slices": 0, "patients": 0, "families": 0}
    assert table["all"]["all"] == {"slices": 4, "patients": 3, "families": 2}
    assert counts["sizes"] == {"512 x 512": 3, "256 x 256": 1}
    assert counts["planes"] == {"axial": 2, "coronal": 1, "unknown": 1}
    assert counts["patient_sources"] == {"cjdata/PID": 3, "file name": 1}


def test_what_was_left_out_is_grouped_by_reason_with_the_first_names():
    counts = count()
    assert counts["skipped"] == 5
    assert counts["skipped_groups"] == [
        {
            "field": "cjdata/label",
            "reason": "is 7, allowed are 1..3",
            "count": 4,
            "first": ["a/7.mat", "a/8.mat", "a/9.mat"],
        },
        {"field": "file", "reason": "is empty", "count": 1, "first": ["[bold]x[/bold].mat"]},
    ]


def test_reasons_that_differ_in_more_than_names_and_numbers_stay_apart():
    findings = [
        Finding("a", "id", "is '1', as that of x"),
        Finding("b", "id", "is '2', as that of x"),
        Finding("c", "id", "is empty"),
        Finding("d", "file", "is empty"),
    ]
    assert [group["count"] for group in group_findings(findings)] == [2, 1, 1]


def test_a_person_sees_every_number_and_names_as_they_are():
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(render_summary(count(remarks=[Remark("b.mat", "mask", "is empty")]), ["a note on the split"]))
    text = console.export_text()
    numbers = ("2 / 1 / 1", "4 / 3 / 2", "512 x 512 (3)", "coronal (1)", "cjdata/PID (3)", "2 of 4 slices")
    names = ("a/7.mat, a/8.mat, a/9.mat, ...", "[bold]x[/bold].mat", "a note on the split", "To know")
    assert [part for part in (*numbers, *names) if part not in text] == []


def test_nothing_left_out_needs_no_table():
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(render_summary(count(skipped=[])))
    assert "Left out" not in console.export_text()
