"""How far a run has come, and whether it is the run that the study asks for."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from kdmri_monai.study.config import StudyError
from kdmri_monai.study.plan import Job
from kdmri_monai.study.state import Stage, State, state_of

CONFIGS = Path(__file__).resolve().parents[2] / "bundles" / "kd" / "configs"


@pytest.fixture
def job(tmp_path):
    (tmp_path / "datalist.json").write_text("{}")
    settings = {
        "progress": False,
        "max_epochs": 3,
        "dataset_dir": str(tmp_path),
        "datalist": str(tmp_path / "datalist.json"),
        "output_dir": str(tmp_path / "run"),
        "seed": 1,
    }
    return Job("fold0/kd_1", tmp_path / "run", (CONFIGS / "train.json", CONFIGS / "baseline.json"), settings, arm="kd")


def left(job, epochs, evaluated=False):
    """A run folder as the bundle leaves it."""
    job.folder.mkdir(exist_ok=True)
    sha256 = hashlib.sha256(Path(job.settings["datalist"]).read_bytes()).hexdigest()
    command = [*job.command("training"), "--resume", "True", "--device", "cuda"]
    (job.folder / "run.json").write_text(json.dumps({"command": command, "settings": {}, "data": {"sha256": sha256}}))
    config = ConfigParser.load_config_files([str(path) for path in job.files])
    (job.folder / "config.json").write_text(json.dumps(config))
    lines = [json.dumps({"epoch": epoch}) for epoch in range(1, epochs + 1)]
    (job.folder / "metrics.jsonl").write_text("\n".join(lines))
    if evaluated:
        (job.folder / "test_metrics.json").write_text("{}")


def test_the_stages_of_a_run(job):
    assert state_of(job) == State(Stage.new, 0)
    left(job, 2)
    assert state_of(job) == State(Stage.interrupted, 2)
    left(job, 3)
    assert state_of(job) == State(Stage.trained, 3)
    left(job, 3, evaluated=True)
    assert state_of(job) == State(Stage.finished, 3)


def test_a_run_that_was_stopped_while_it_wrote_is_not_further_than_its_last_whole_line(job):
    left(job, 2)
    with (job.folder / "metrics.jsonl").open("a") as file:
        file.write('\n{"epoch": 3, "tra')
    assert state_of(job) == State(Stage.interrupted, 2)


def changed(job, **settings):
    return Job(job.name, job.folder, job.files, {**job.settings, **settings}, arm=job.arm)


@pytest.mark.parametrize(
    ("settings", "told"), [({"seed": 2}, "seed was 1"), ({"learning_rate": 0.1}, "learning_rate was None")]
)
def test_other_settings_are_named(job, settings, told):
    left(job, 3, evaluated=True)
    with pytest.raises(StudyError, match=told):
        state_of(changed(job, **settings))


def test_places_and_devices_may_differ(job, tmp_path):
    left(job, 3, evaluated=True)
    shutil.copytree(tmp_path, tmp_path.with_name("elsewhere"))
    data = str(tmp_path.with_name("elsewhere") / "datalist.json")
    assert state_of(changed(job, datalist=data, dataset_dir="elsewhere", device="cpu")).stage is Stage.finished


def test_another_configuration_and_other_data_are_named(job):
    left(job, 3, evaluated=True)
    other = Job(job.name, job.folder, (*job.files, CONFIGS / "mixup.json"), job.settings, arm=job.arm)
    with pytest.raises(StudyError, match="mixing of the configuration"):
        state_of(other)
    Path(job.settings["datalist"]).write_text("{ }")
    with pytest.raises(StudyError, match="the datalist"):
        state_of(job)
