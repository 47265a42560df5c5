"""Runs of one configuration are an arm; arms are compared when they are complete and split alike."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from kdmri_monai.evaluation.arms import arms_of
from kdmri_monai.evaluation.errors import ComparisonError
from kdmri_monai.evaluation.fold_scheme import check_design
from kdmri_monai.evaluation.predictions_file import read_predictions, write_predictions
from kdmri_monai.evaluation.run_folder import RunFolder

CONFIG = {
    "seed": 0,
    "dataset_dir": "$os.path.join(@bundle_root, 'dataset')",
    "teacher_ckpt": "$os.path.join(@bundle_root, 'runs', 'teacher', 'model.pt')",
    "device": "$'cuda' if torch.cuda.is_available() else 'cpu'",
    "learning_rate": 0.001,
    "replay_seed": None,
    "terms": [{"name": "kd", "weight": 1.0, "arguments": {"temperature": 2.0}}],
    "train": {"sampler": {"seed": "@seed"}, "dataloader": {"num_workers": "@num_workers"}},
}


@pytest.fixture
def write_run(tmp_path):
    """A run folder as training leaves it: configuration, command with overrides, settings and data."""

    def write(place, seed=0, fold=0, teacher=None, options=(), config=CONFIG, data=(), settings=(), **record):
        folder = tmp_path / place
        folder.mkdir(parents=True)
        words = [f"--seed={seed}", f"--output_dir={folder}", "--resume", "true", *options]
        settings = {"seed": seed, "image_size": 96, "teacher_ckpt": teacher, **dict(settings)}
        slices = {"training": 70, "validation": 10, "test": 20}
        data = {"fold": fold, "group_rule": "family", "sha256": f"sha-{fold}", "slices": slices, **dict(data)}
        record = {"command": ["monai.bundle", "run", "training", *words], "settings": settings, "data": data, **record}
        (folder / "run.json").write_text(json.dumps(record))
        if config is not None:
            (folder / "config.json").write_text(json.dumps(config))
        return RunFolder(folder)

    return write


def members(runs):
    return {arm.name: [run.path.name for run in arm.runs] for arm in arms_of(runs)}


def test_seed_fold_paths_and_machine_do_not_make_another_arm(write_run):
    runs = [
        write_run("kd_1", 1, options=["--device", "cuda", "--num_workers=4", "--progress", "false"]),
        write_run("kd_0", 0, options=["--dataset_dir", "elsewhere", "--train#dataloader#num_workers", "2"]),
        write_run("kd_0_of_1", 0, fold=1, options=["--datalist=d.json", "--train#sampler#seed", "5", "--overwrite"]),
    ]
    assert members(runs) == {"kd": ["kd_0", "kd_0_of_1", "kd_1"]}


@pytest.mark.parametrize(
    "options",
    [
        ["--learning_rate", "0.01"],
        ["--terms#0#arguments#temperature", "4.0"],
        ["--replay_seed", "3"],
        ["--train#sampler#shuffle", "false"],
    ],
)
def test_another_setting_on_the_command_line_makes_another_arm(write_run, options):
    runs = [write_run("kd_0"), write_run("kd_1", 1), write_run("new_0", options=options)]
    assert members(runs) == {"kd": ["kd_0", "kd_1"], "new_0": ["new_0"]}


def test_a_seed_of_the_replay_is_a_seed(write_run):
    runs = [write_run(f"cached_{seed}", seed, options=["--replay_seed", str(seed)]) for seed in range(2)]
    assert len(arms_of(runs)) == 1


def test_teachers_of_other_seeds_are_tolerated_and_of_other_settings_are_not(write_run, tmp_path):
    wide = ["--teacher_def#embed_dim", "48"]
    for name, seed, options in (("t_0", 0, []), ("other", 1, []), ("t_2", 2, wide)):
        write_run(name, seed, options=options, config={"terms": [], "teacher_def": {"embed_dim": 24}})
    taught = [
        write_run("kd_0", 0, teacher=str(tmp_path / "t_0" / "model.pt")),
        write_run("kd_1", 1, teacher=str(tmp_path / "other" / "model.pt")),
        write_run("kd_2", 2, teacher=str(tmp_path / "t_2" / "model.pt")),
    ]
    assert [[run.seed for run in arm.runs] for arm in arms_of(taught)] == [[0, 1], [2]]


def test_teachers_that_are_gone_are_told_apart_by_their_paths_without_seeds(write_run):
    paths = ["gone/fold0/t_0/model.pt", "gone/fold1/t_1/model.pt", "gone/fold0/u_0/model.pt", "gone/t24/model.pt"]
    lists = [[path, "gone/x/model.pt"] for path in paths[:2]]
    runs = [write_run(f"r{number}", number, teacher=path) for number, path in enumerate([*paths, *lists])]
    assert [[run.seed for run in arm.runs] for arm in arms_of(runs)] == [[0, 1], [2], [3], [4, 5]]


def test_a_teacher_of_itself_ends(write_run, tmp_path):
    run = write_run("born_again", teacher=str(tmp_path / "born_again" / "model.pt"))
    assert members([run]) == {"born_again": ["born_again"]}


def test_runs_without_a_configuration_stay_alone_unless_their_name_joins_them(write_run):
    alone = [write_run(f"old_{seed}", seed, config=None) for seed in range(2)]
    named = [write_run(f"b{seed}", seed, config=None, name="theirs") for seed in range(2)]
    assert members([*alone, *named]) == {"old_0": ["old_0"], "old_1": ["old_1"], "theirs": ["b0", "b1"]}


@pytest.mark.parametrize(
    ("folders", "name"),
    [
        (["kd_0", "kd_1", "kd_2"], "kd"),
        (["kd_T_2_0", "kd_T_2_1"], "kd_T_2"),
        (["kd_10", "kd_11"], "kd"),
        (["kd_fold0_seed1", "kd_fold1_seed0"], "kd"),
        (["kd-seed0-fold0", "kd-seed0-fold1"], "kd"),
        (["resnet10_0", "resnet10_1"], "resnet10"),
        (["seed0/baseline", "seed1/baseline"], "baseline"),
        (["kd/seed0", "kd/seed1"], "kd"),
        (["all/0", "all/1"], "all"),
        (["s0_kd", "s1_kd"], "kd"),
        (["kd_0"], "kd_0"),
    ],
)
def test_an_arm_bears_what_the_names_of_its_folders_have_in_common(write_run, folders, name):
    assert list(members([write_run(folder, seed) for seed, folder in enumerate(folders)])) == [name]


def test_names_of_arms_that_meet_are_told_apart(write_run, tmp_path):
    hot = ["--terms#0#arguments#temperature", "4"]
    runs = [write_run(f"{place}/kd_{seed}", seed, options=o) for place, o in (("a", []), ("b", hot)) for seed in (0, 1)]
    assert list(members(runs)) == ["a/kd", "b/kd"]
    side = [write_run(f"s/kd_{number}", number % 2, options=hot if number > 1 else []) for number in range(4)]
    assert list(members(side)) == ["s/kd (kd_0, kd_1)", "s/kd (kd_2, kd_3)"]


def test_a_table_has_the_slices_of_all_folds_once_for_every_seed(write_run, make_predictions):
    table = make_predictions()
    part = np.unique(table.family, return_inverse=True)[1] % 2
    runs = [write_run(f"kd_{seed}_{fold}", seed, fold) for seed in (1, 0) for fold in (1, 0)]
    for run in runs:
        probabilities = np.random.default_rng(run.seed).dirichlet(np.ones(3), len(table))
        own = replace(table, probabilities=probabilities).take(part == run.fold)
        write_predictions(own, run.path / "test_predictions.csv")
    (arm,) = arms_of(runs)
    assert (arm.seeds, arm.folds) == ((0, 1), (0, 1))
    for seed, found in enumerate(arm.tables("test")):
        both = [read_predictions(arm.runs[2 * seed + fold].path / "test_predictions.csv") for fold in (0, 1)]
        np.testing.assert_array_equal(found.id, np.concatenate([one.id for one in both]))
        np.testing.assert_array_equal(found.probabilities, np.concatenate([one.probabilities for one in both]))
        assert sorted(found.id) == sorted(table.id)


def test_folds_that_share_patients_are_refused(write_run, predictions):
    runs = [write_run(f"kd_{fold}", 0, fold) for fold in range(2)]
    for run in runs:
        write_predictions(predictions, run.path / "test_predictions.csv")
    shared = r"kd_0 and .*kd_1 have both predicted .*, .*, .*, .*, \w+ and \d+ others: folds share no patients"
    with pytest.raises(ComparisonError, match=shared):
        arms_of(runs)[0].tables("test")


def grid(write_run, name, seeds, folds, **changes):
    return [write_run(f"{name}_{seed}_{fold}", seed, fold, **changes) for seed in seeds for fold in folds]


HOT = {"options": ["--learning_rate", "0.1"]}


def test_complete_arms_over_the_same_folds_may_have_other_seeds(write_run):
    runs = grid(write_run, "kd", (0, 1, 2), (0, 1)) + grid(write_run, "b", (7,), (0, 1), **HOT)
    assert check_design(arms_of(runs)) is None


def test_an_arm_that_lacks_a_run_or_has_one_twice_is_refused(write_run):
    runs = grid(write_run, "kd", (0, 1), (0, 1))
    with pytest.raises(ComparisonError, match=r"kd lacks a run of seed 1, fold 1: every seed needs every fold"):
        check_design(arms_of(runs[:-1]))
    again = write_run("kd_again", 1, 1)
    with pytest.raises(ComparisonError, match=r"kd has seed 1, fold 1 2 times: .*kd_1_1, .*kd_again"):
        check_design(arms_of([*runs, again]))


def test_arms_over_other_folds_are_refused(write_run):
    runs = grid(write_run, "kd", (0, 1), (0, 1, 2)) + grid(write_run, "b", (0,), (0, 2), **HOT)
    with pytest.raises(ComparisonError, match=r"same folds, here 0, 1, 2: b_0 \(b_0_0, b_0_2\) lacks fold 1$"):
        check_design(arms_of(runs))


def test_a_run_of_several_needs_a_seed_and_a_fold(write_run):
    unknown = [*grid(write_run, "kd", (0,), (0, 1)), write_run("x", 0, None, **HOT)]
    with pytest.raises(ComparisonError, match=r"x has no data\.fold in run\.json"):
        check_design(arms_of(unknown))
    without = [write_run("y_0"), write_run("y_1", settings={"seed": None})]
    with pytest.raises(ComparisonError, match=r"y_1: .* run\.json has no settings\.seed"):
        check_design(arms_of(without))
    assert check_design(arms_of([without[1], write_run("z", 0, None, **HOT)])) is None


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"group_rule": "patient"}, "group rule: family in .*; patient in .*other"),
        ({"sha256": "else"}, "checksum of the datalist: sha-0 in .*; else in .*other"),
        ({"slices": {"training": 71, "test": 30}}, "number of slices: 100 in .*; 101 in .*other"),
    ],
)
def test_data_that_were_split_in_other_ways_are_refused(write_run, data, told):
    runs = [*grid(write_run, "kd", (0, 1), (0,)), write_run("other", 0, data=data, **HOT)]
    with pytest.raises(ComparisonError, match=told):
        check_design(arms_of(runs))


def test_datalists_that_are_still_there_tell_the_scheme(write_run, tmp_path):
    def data(fold, **changes):
        head = {"folds": 5, "fold": fold, "seed": 0, "validation_fraction": 0.15, "folds_file": None, **changes}
        file = tmp_path / f"{fold}.json"
        file.write_text(json.dumps(head))
        return {"datalist": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}

    runs = [write_run(f"kd_{fold}", 0, fold, data=data(fold)) for fold in range(2)]
    assert check_design(arms_of(runs)) == 5
    other = write_run("kd_2", 0, 2, data=data(2, seed=1))
    with pytest.raises(ComparisonError, match=r"seed of the split: 0 in .*kd_0, .*kd_1; 1 in .*kd_2"):
        check_design(arms_of([*runs, other]))
    # a file that was changed since says nothing of the run
    (tmp_path / "2.json").write_text('{"folds": 9, "seed": 2}')
    assert check_design(arms_of([*runs, other])) == 5
