"""From a study to jobs: names, order, what each needs, and the words that start it."""

from pathlib import Path

import pytest

from kdmri_monai.engines.run_config import run_overrides
from kdmri_monai.study.config import Recipe, Study
from kdmri_monai.study.plan import plan

CONFIGS = Path("bundles/kd/configs")
OUT = Path("/o")


def a_study(**changes):
    given = {
        "path": Path("study.json"),
        "name": "x",
        "folds": (0, 2),
        "seeds": (5, 6),
        "settings": {"max_epochs": 4, "mixing": None},
        "teachers": {
            "big": Recipe("big", ("imagenet_teacher",), {"max_epochs": 9}),
            "parts": Recipe("parts", (), crossfit=2),
            "unused": Recipe("unused", ()),
        },
        "arms": {
            "student": Recipe("student", ("baseline",)),
            "kd": Recipe("kd", ("terms_kd",), {"terms#0#weight": 2.0}, teacher="big"),
            "fair": Recipe("fair", ("crossfit",), teacher="parts"),
        },
        "reference": "student",
        "examine": True,
    }
    return Study(**(given | changes))


@pytest.fixture
def jobs():
    datalists = {fold: Path(f"/d/datalist.fold-{fold}.json") for fold in (0, 1, 2)}
    parts = {fold: [Path(f"/d/{fold}.part-{number}.json") for number in range(2)] for fold in (0, 2)}
    return plan(a_study(), CONFIGS, datalists, parts, OUT)


def test_teachers_of_a_fold_come_before_its_students_and_unused_ones_not_at_all(jobs):
    assert [job.name for job in jobs[:5]] == [
        "fold0/teachers/big_5",
        "fold0/teachers/parts_without-0",
        "fold0/teachers/parts_without-1",
        "fold0/student_5",
        "fold0/kd_5",
    ]
    assert len(jobs) == 2 * (3 + 2 * 3)
    assert len({job.name for job in jobs}) == len(jobs)


def test_students_need_the_teachers_of_their_own_fold(jobs):
    needs = {job.name: job.needs for job in jobs}
    assert needs["fold2/kd_6"] == ("fold2/teachers/big_5",)
    assert needs["fold0/fair_5"] == ("fold0/teachers/parts_without-0", "fold0/teachers/parts_without-1")
    assert needs["fold0/student_6"] == ()


def test_the_command_line_says_what_the_job_is(jobs):
    job = next(job for job in jobs if job.name == "fold2/kd_6")
    words = job.command("training")
    assert words[1:5] == ["-m", "monai.bundle", "run", "training"]
    assert eval(words[6]) == [str(CONFIGS / name) for name in ("train.json", "terms_kd.json")]
    given = run_overrides(words)
    assert given["datalist"] == "/d/datalist.fold-2.json"
    assert given["output_dir"] == "/o/fold2/kd_6"
    assert given["teacher_ckpt"] == "/o/fold2/teachers/big_5/model.pt"
    assert (given["seed"], given["max_epochs"], given["terms#0#weight"]) == (6, 4, 2.0)
    assert given["mixing"] == "$None"
    assert given["progress"] is False


def test_a_teacher_has_its_own_epochs_the_first_seed_and_the_data_of_its_part(jobs):
    by_name = {job.name: job for job in jobs}
    assert by_name["fold0/teachers/big_5"].epochs == 9
    assert by_name["fold0/teachers/big_5"].files[-1].name == "teacher.json"
    member = by_name["fold2/teachers/parts_without-1"]
    assert member.settings["datalist"] == "/d/2.part-1.json"
    assert member.settings["seed"] == 5
    assert not member.examine
    taught = run_overrides(by_name["fold2/fair_6"].command("training"))
    assert taught["teacher_ckpts"] == [f"/o/fold2/teachers/parts_without-{number}/model.pt" for number in range(2)]
