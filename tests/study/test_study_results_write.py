"""Results of a study, made of run folders whose answers are made up; scikit-learn and SciPy say what is right."""

import csv
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.metrics import balanced_accuracy_score, recall_score

from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.predictions_file import read_predictions, write_predictions
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.study.config import StudyError
from kdmri_monai.study.results_record import read_record
from kdmri_monai.study.results_write import draw_results, write_results

FOLDS, SEEDS, EPOCHS = (0, 1), (3, 4), 4
SKILL = {"student": 1.0, "kd": 2.0, "broken": 1.0, "teachers": 3.0}
STUDY = {
    "name": "made up",
    "folds": list(FOLDS),
    "seeds": list(SEEDS),
    "settings": {"image_size": 32, "max_epochs": EPOCHS},
    "teachers": {"kd": {}, "parts": {"crossfit": 2}},
    "arms": {"student": {}, "kd": {"teacher": "kd"}, "broken": {"teacher": "parts"}},
    "reference": "student",
}
FAST = Resampling(replicates=100)


def answers(part, skill, seed):
    """Slices of 18 families of a fold, three a family; half of the gliomas have ids with letters."""
    family = np.repeat(np.arange(18), 3)
    label, rng = family % 3, np.random.default_rng(seed)
    logits = 2.0 * rng.normal(size=(len(label), 3))
    logits[np.arange(len(label)), label] += skill
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = np.array([f"{'MR' if number % 6 == 1 else ''}{part}{number:02d}" for number in family])
    return Predictions(np.char.add(f"{part}-", np.arange(len(label)).astype(str)), names, names, label, probabilities)


def left(home, name, arm, fold, seed):
    """A run folder as training and evaluation leave it."""
    folder = home / name
    folder.mkdir(parents=True)
    recipe = "teachers" if "teachers" in name else arm
    place, number = {"teachers": 0, "student": 1, "kd": 2, "broken": 3}[recipe], 10 * fold + seed
    settings = {"seed": seed, "network": "ResNet", "parameters": 1234}
    data = {"fold": fold, "group_rule": "family", "sha256": f"sha-{fold}", "slices": {"test": 54}}
    record = {"command": ["monai.bundle", "run", "training"], "settings": settings, "data": data}
    config = {"recipe": f"{recipe} {arm}", "student_def": {"_target_": "monai.networks.nets.ResNet"}}
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "metrics.jsonl").write_text("".join(line(epoch, fold) for epoch in range(1, EPOCHS + 1)))
    for split, part in (("test", f"7{fold}"), ("validation", f"8{fold}")):
        table = answers(part, SKILL[recipe], 100 * place + number + 1000 * (split == "test"))
        write_predictions(table, folder / f"{split}_predictions.csv")
    (folder / "test_metrics.json").write_text(json.dumps({"slices": {"balanced_accuracy": {"value": 0.5 + fold / 4}}}))


def line(epoch, fold):
    part = {"loss": 1.0 / (epoch + fold), "accuracy": 0.6, "balanced_accuracy": None if epoch == 2 else 0.2 * epoch}
    return json.dumps({"epoch": epoch, "training": part, "validation": part, "n": {"training": 9}}) + "\n"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Runs of a study of which one arm has failed, and its results."""
    home = tmp_path_factory.mktemp("runs").resolve()
    runs = {}
    for fold in FOLDS:
        names = {f"fold{fold}/{arm}_{seed}": (arm, seed) for seed in SEEDS for arm in STUDY["arms"]}
        names |= {f"fold{fold}/teachers/{name}": ("kd", 3) for name in ("kd_3", "parts_without-0", "parts_without-1")}
        for name, (arm, seed) in names.items():
            left(home, name, arm, fold, seed)
            runs[name] = {"stage": "finished", "epochs": EPOCHS, "failure": ""}
    runs["fold1/broken_4"] = {"stage": "interrupted", "epochs": 2, "failure": f"OSError: {home}/fold1 is full"}
    del runs["fold0/broken_4"]
    record = {"study": STUDY, "folds": FOLDS, "seeds": SEEDS, "arms": list(STUDY["arms"]), "runs": runs}
    (home / "study.json").write_text(json.dumps(record))
    out = tmp_path_factory.mktemp("results") / "study"
    files = write_results(home, out, FAST)
    read = {path.name: json.loads(path.read_text()) for path in files if path.suffix == ".json"}
    page = (out / "README.md").read_text()
    return SimpleNamespace(
        home=home, out=out, files=files, record=record, page=page, **{k[:-5]: v for k, v in read.items()}
    )


@pytest.fixture
def pooled(finished):
    """Labels, probabilities and patients of both folds of an arm and a seed."""

    def pool(arm, seed, place="fold{}/{}_{}"):
        files = [finished.home / place.format(fold, arm, seed) / "test_predictions.csv" for fold in FOLDS]
        tables = [read_predictions(file) for file in files]
        return [np.concatenate([getattr(t, name) for t in tables]) for name in ("label", "probabilities", "patient")]

    return pool


def over_seeds(pooled, arm, number):
    return np.mean([number(*pooled(arm, seed)) for seed in SEEDS])


def balanced(label, probabilities, patient=None):
    return balanced_accuracy_score(label, probabilities.argmax(axis=1))


def numbers(finished, arm):
    return next(one for one in finished.results["arms"] if one["name"] == arm)["numbers"]


def test_arms_are_pooled_over_folds_under_the_names_of_the_study(finished, pooled):
    rows = {row["name"]: row for row in finished.comparison["rows"]}
    assert list(rows) == ["student", "kd", "teacher kd"]  # the arm and the teacher of one name are told apart
    assert finished.comparison["reference"] == "student"
    for arm in ("student", "kd"):
        slices = rows[arm]["slices"]
        assert (slices["n"], slices["families"], rows[arm]["seeds"]) == (108, 36, list(SEEDS))
        assert slices["metrics"]["balanced_accuracy"]["value"] == pytest.approx(over_seeds(pooled, arm, balanced))
    teacher = balanced(*pooled("kd", 3, "fold{}/teachers/{}_{}"))
    assert rows["teacher kd"]["slices"]["metrics"]["balanced_accuracy"]["value"] == pytest.approx(teacher)
    with (finished.out / "comparison.csv").open() as file:
        assert [row["name"] for row in csv.DictReader(file)] == list(rows)


def test_recalls_are_those_of_the_pooled_slices(finished, pooled):
    def meningioma(label, probabilities, patient):
        return recall_score(label == 0, probabilities.argmax(axis=1) == 0)

    def numeric(label, probabilities, patient):
        rows = (label == 1) & (np.char.find(patient.astype(str), "MR") != 0)
        assert rows.sum() == 18
        return np.mean(probabilities[rows].argmax(axis=1) == 1)

    for arm in ("student", "kd"):
        found = numbers(finished, arm)
        assert found["meningioma"]["value"] == pytest.approx(over_seeds(pooled, arm, meningioma))
        assert found["numeric_gliomas"]["value"] == pytest.approx(over_seeds(pooled, arm, numeric))
        assert found["numeric_gliomas"]["low"] < found["numeric_gliomas"]["value"] < found["numeric_gliomas"]["high"]


def test_the_gain_is_to_the_same_student_without_a_teacher(finished, pooled):
    gain = over_seeds(pooled, "kd", balanced) - over_seeds(pooled, "student", balanced)
    assert numbers(finished, "kd")["gain_slices"]["value"] == pytest.approx(gain)
    assert "gain_slices" not in numbers(finished, "student")


def test_calibration_is_that_of_the_temperature_of_every_runs_own_validation(finished, pooled):
    def error(label, probabilities):
        confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == label
        place = np.ceil(confidence * 15)
        gaps = [abs(np.sum(right[place == one] - confidence[place == one])) for one in np.unique(place)]
        return sum(gaps) / len(label)

    def softened(fold, seed):
        folder = finished.home / f"fold{fold}" / f"kd_{seed}"
        validation, test = (read_predictions(folder / f"{one}_predictions.csv") for one in ("validation", "test"))

        def power(table, temperature):
            raised = table.probabilities ** (1 / temperature)
            return raised / raised.sum(axis=1, keepdims=True)

        def loss(log_temperature):
            rows = np.arange(len(validation))
            return -np.log(power(validation, np.exp(log_temperature))[rows, validation.label]).mean()

        best = minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9}).x
        return test.label, power(test, np.exp(best))

    after = []
    for seed in SEEDS:
        parts = [softened(fold, seed) for fold in FOLDS]
        after.append(error(*(np.concatenate([part[at] for part in parts]) for at in (0, 1))))
    found = numbers(finished, "kd")
    before = over_seeds(pooled, "kd", lambda label, probabilities, patient: error(label, probabilities))
    assert found["ece_before"]["value"] == pytest.approx(before)
    assert found["ece_after"]["value"] == pytest.approx(np.mean(after), rel=1e-3)
    assert abs(before - np.mean(after)) > 0.01


def test_mistakes_are_those_of_the_tables(finished, pooled):
    teacher, label = pooled("kd", 3, "fold{}/teachers/{}_{}")[1].argmax(axis=1), pooled("kd", 3)[0]
    wrong = np.mean([pooled("kd", seed)[1].argmax(axis=1) != label for seed in SEEDS], axis=0)
    arms = {arm["name"]: arm["mistakes"] for arm in finished.results["arms"]}
    assert (arms["kd"]["slices"], arms["kd"]["patients"]) == (108, 36)
    assert arms["kd"]["wrong"] == pytest.approx(wrong.sum())
    assert arms["kd"]["taught"] == pytest.approx(wrong[teacher != label].sum() / wrong.sum())
    assert arms["student"]["taught"] is None
    assert f"| kd | {wrong.sum():g} of 108 | {arms['kd']['half_in']} of 36 | " in finished.page


def test_results_of_before_have_no_mistakes_and_are_still_drawn(finished, tmp_path):
    for path in finished.files:
        if path.suffix == ".json":
            shutil.copy(path, tmp_path)
    old = json.loads((tmp_path / "results.json").read_text())
    for arm in old["arms"]:
        del arm["mistakes"]
    (tmp_path / "results.json").write_text(json.dumps(old))
    draw_results(tmp_path)
    assert "## Mistakes" in finished.page
    assert "## Mistakes" not in (tmp_path / "README.md").read_text()


def test_an_arm_that_lacks_a_run_is_left_out_and_what_failed_is_told(finished):
    assert [arm["name"] for arm in finished.results["arms"]] == ["student", "kd"]
    assert {run["name"]: run["failure"] for run in finished.results["unfinished"]} == {
        "fold1/broken_4": "OSError: fold1 is full",
        "fold0/broken_4": "it is not recorded",
    }
    assert "- `fold1/broken_4`: interrupted, 2 epochs. OSError: fold1 is full" in finished.page


def test_no_file_leads_to_where_the_runs_lay(finished):
    texts = [path.read_text() for path in finished.files if path.suffix != ".png"]
    assert len(texts) == 5
    assert not any(str(finished.home) in text for text in texts)
    assert finished.comparison["rows"][1]["runs"][1]["folder"] == "fold1/kd_3"


def test_curves_keep_every_run_and_what_is_not_defined_stays_so(finished):
    runs = finished.curves["arms"]["kd"]
    assert [(run["seed"], run["fold"]) for run in runs] == [(3, 0), (3, 1), (4, 0), (4, 1)]
    assert runs[1]["columns"]["validation/loss"] == pytest.approx([1 / 2, 1 / 3, 1 / 4, 1 / 5], rel=1e-4)
    assert runs[1]["columns"]["validation/balanced_accuracy"] == [0.2, None, 0.6, 0.8]
    assert {run["best_epoch"] for run in finished.results["runs"]} == {4}


def test_figures_and_page_come_from_the_json_files_alone(finished, tmp_path):
    for path in finished.files:
        if path.suffix == ".json":
            shutil.copy(path, tmp_path)
    again = draw_results(tmp_path)
    assert [path.name for path in again] == ["differences.png", "curves_student.png", "curves_kd.png", "README.md"]
    assert all(path.read_bytes() == (finished.out / path.name).read_bytes() for path in again)


def test_every_line_of_a_table_has_as_many_cells_as_its_head(finished):
    tables = [block.splitlines() for block in finished.page.split("\n\n") if block.startswith("|")]
    assert len(tables) == 4
    for table in tables:
        assert len({one.count("|") for one in table}) == 1
    by_fold = next(one for one in tables[2] if one.startswith("| kd |"))
    assert by_fold == "| kd | 50.0 / \N{EN DASH} | 75.0 / \N{EN DASH} | 4 | 4 |"


def test_convergence_is_to_the_best_epoch_of_the_same_fold_and_seed(finished, tmp_path):
    home = tmp_path / "runs"
    shutil.copytree(finished.home, home)
    for name, shift in (("fold0/kd_3", 0.3), ("fold1/kd_4", -0.3)):
        rows = [json.loads(row) for row in (home / name / "metrics.jsonl").read_text().splitlines()]
        for row in rows:
            if row["validation"]["balanced_accuracy"] is not None:
                row["validation"]["balanced_accuracy"] += shift
        (home / name / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_results(home, tmp_path / "out", FAST)
    runs = {run["name"]: run for run in json.loads((tmp_path / "out" / "results.json").read_text())["runs"]}
    assert [runs[f"fold0/{arm}_3"]["epochs_to_reference"] for arm in ("student", "kd")] == [4, 3]
    assert runs["fold1/kd_4"]["epochs_to_reference"] is None
    assert "epochs_to_reference" not in runs["fold0/teachers/kd_3"]
    page = (tmp_path / "out" / "README.md").read_text()
    assert "| 4 | 3\N{EN DASH}4, never in 1 of 4 |" in page


def test_a_study_without_a_complete_arm_says_so(finished, tmp_path):
    runs = {name: run | {"failure": "it broke"} for name, run in finished.record["runs"].items()}
    (tmp_path / "study.json").write_text(json.dumps(finished.record | {"runs": runs}))
    files = write_results(tmp_path, tmp_path / "out")
    assert [path.name for path in files] == ["results.json", "README.md"]
    assert "No arm is complete" in files[1].read_text()


def test_another_arm_is_the_reference_where_that_of_the_study_is_not_complete(finished, tmp_path):
    runs = finished.record["runs"] | {"fold0/student_3": {"stage": "new", "epochs": 0, "failure": ""}}
    (tmp_path / "study.json").write_text(json.dumps(finished.record | {"runs": runs}))
    assert read_record(tmp_path).reference == "kd"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"seeds": []}, r"study.json: seeds is \[\]"),
        ({"study": {"name": "x"}}, "study.json: study.reference is missing"),
    ],
)
def test_a_record_of_another_form_is_refused(finished, tmp_path, content, words):
    (tmp_path / "study.json").write_text(json.dumps(finished.record | content))
    with pytest.raises(StudyError, match=words):
        read_record(tmp_path)


def test_a_folder_without_a_record_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no .*study\.json: kdmri study writes it"):
        write_results(tmp_path, tmp_path / "out")


def test_results_of_another_form_are_refused(tmp_path):
    (tmp_path / "results.json").write_text('{"format": "other"}')
    with pytest.raises(StudyError, match=r"results\.json: format is 'other', expected 'kdmri-study-1'"):
        draw_results(tmp_path)
