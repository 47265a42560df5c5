"""``kdmri crossfit``: datalists for the members of a cross-fitted teacher, and commands that are right as printed."""

import json
import shlex
from ast import literal_eval
from pathlib import Path

import pytest
from monai.bundle import ConfigParser
from typer.testing import CliRunner

from kdmri_monai.cli import app
from kdmri_monai.data.options import PrepareOptions
from kdmri_monai.data.phantom.patients import write_phantoms
from kdmri_monai.data.prepare import prepare_dataset
from kdmri_monai.data.splits import SplitOptions

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    home = tmp_path_factory.mktemp("cross fit")  # a blank, which commands must quote
    write_phantoms(home / "source", patients=15, size=64, progress=False)
    prepare_dataset(
        home / "source", home / "D", PrepareOptions(store_size=64, workers=1), SplitOptions(), progress=False
    )
    return home / "D"


def options(command):
    """Options of a printed command as a shell splits it."""
    words = shlex.split(command)
    assert words[:5] == ["python", "-m", "monai.bundle", "run", "training"]
    return dict(zip((word.removeprefix("--") for word in words[5::2]), words[6::2], strict=True))


def families(datalist, split):
    return {entry["family"] for entry in datalist[split]}


@pytest.fixture(scope="module")
def output(dataset):
    result = CliRunner().invoke(app, ["crossfit", str(dataset), "--parts", "2", "--seed", "5"])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def commands(output):
    return [options(line) for line in output.splitlines() if line.startswith("python")]


def test_every_training_family_is_left_out_by_one_list(dataset, output):
    whole = json.loads((dataset / "datalist.json").read_text())
    lists = [json.loads((dataset / f"datalist.crossfit-{part}-of-2.json").read_text()) for part in range(2)]
    left_out = [families(part, "test") for part in lists]
    assert left_out[0] | left_out[1] == families(whole, "training")
    assert not left_out[0] & left_out[1]
    for part in lists:
        assert f"{part['numTraining']} slices to learn from, {part['numTest']} left out" in output


def test_the_teachers_commands_name_configurations_and_lists_that_exist(dataset, commands):
    teachers = commands[:-1]
    assert [Path(one["datalist"]) for one in teachers] == [
        dataset / f"datalist.crossfit-{part}-of-2.json" for part in range(2)
    ]
    for one in teachers:
        assert Path(one["datalist"]).is_file()
        files = literal_eval(one["config_file"])
        assert [Path(file).name for file in files] == ["train.json", "teacher.json"]
        assert all((ROOT / file).is_file() for file in files)


def test_the_students_command_takes_what_the_teachers_commands_leave(dataset, commands):
    *teachers, student = commands
    assert literal_eval(student["teacher_ckpts"]) == [f"{one['output_dir']}/model.pt" for one in teachers]
    assert student["dataset_dir"] == str(dataset)
    config = ConfigParser.load_config_files([str(ROOT / file) for file in literal_eval(student["config_file"])])
    assert config["teacher"]["checkpoints"] == "@teacher_ckpts"
    assert "teacher_ckpts" in config


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["NOWHERE"], "NOWHERE/datalist.json does not exist"), (["D", "--parts", "1"], "allowed are 2 and more")],
)
def test_wrong_input_ends_in_one_line(dataset, tmp_path, arguments, told):
    places = {"D": str(dataset), "NOWHERE": str(tmp_path / "NOWHERE")}
    result = CliRunner().invoke(app, ["crossfit", *(places.get(word, word) for word in arguments)])
    assert result.exit_code == 1
    assert result.output.startswith("error: ")
    assert told in result.output
