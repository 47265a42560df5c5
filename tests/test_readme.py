"""The commands of the README, run as written on phantoms, with small settings added."""

import ast
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from monai.bundle import run
from PIL import Image
from typer.testing import CliRunner

from kdmri_monai.cli import app
from kdmri_monai.data.phantom.slices import phantom_slice

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text()
SMALL = {"image_size": 64, "max_epochs": 1, "batch_size": 8, "device": "cpu", "progress": False}

pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")


def commands(pattern):
    return [line.strip().split("  #")[0] for line in TEXT.splitlines() if re.match(rf"    {pattern}", line)]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    home = tmp_path_factory.mktemp("readme")
    names = ("FIGSHARE", "D", "T", "S", "B", "GT", "G", "figures", "report.html", "student.zip", "scan.png")
    return {name: str(home / name) for name in names}


def placed(command, places):
    words = (places.get(word, word) for word in shlex.split(command))
    return [re.sub(r"^(\w+)/model.pt$", lambda m: f"{places[m[1]]}/model.pt", word) for word in words]


def kdmri(*arguments):
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def bundle(words):
    run_id, *rest = words[words.index("run") + 1 :]
    given = {name.removeprefix("--"): value for name, value in zip(rest[::2], rest[1::2], strict=True)}
    files = given.pop("config_file")
    files = ast.literal_eval(files) if files.startswith("[") else files
    assert not (given.keys() & SMALL.keys())
    small = [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [*words[words.index("-m") + 1 :], *small])  # what the run remembers
        run(run_id=run_id, config_file=files, **given, **SMALL)


def test_the_commands_of_the_readme_give_table_and_curves(places, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    kdmri("phantom", places["FIGSHARE"], "--patients", "15", "--size", "96", "--quiet")
    assert "pituitary" in kdmri("prepare", places["FIGSHARE"], places["D"], "--size", "96", "--quiet")
    with_places = [placed(command, places) for command in commands("python -m monai.bundle")]
    told = [words for words in with_places if "--output_dir" in words]
    assert len(told) == 9
    for words in told:
        bundle(words)
    assert (Path(places["G"]) / "test_evidence.json").is_file()
    [compare], [curves] = commands("kdmri compare"), commands("kdmri curves")
    table = kdmri(*placed(compare, places)[1:])
    assert "balanced accuracy" in table
    kdmri(*placed(curves, places)[1:])
    assert {path.name for path in Path(places["figures"]).iterdir()} >= {"curves.png", "loss_terms.png"}
    [report], [card] = commands("kdmri report"), commands("kdmri card")
    kdmri("examine", *(places[name] for name in "TBS"), "--parts", "predictions,network_controls")  # the quick ones
    kdmri(*placed(report, places)[1:], "--no-examine")
    page = Path(places["report.html"]).read_text()
    assert 'id="f-confusion_distilled_slices"' in page
    kdmri(*placed(card, places)[1:])
    assert {path.name for path in Path(places["S"]).iterdir()} >= {"MODEL_CARD.md", "CLAIM.md", "test_evidence.json"}
    Image.fromarray(phantom_slice("axial", 1, np.random.default_rng(0), 128).image.astype(np.uint16)).save(
        places["scan.png"]
    )
    [pack], [audit] = commands("kdmri pack"), commands("kdmri audit")
    assert "audit: safe" in kdmri(*placed(pack, places)[1:])
    assert "safe" in kdmri(*placed(audit, places)[1:])
    asked = [command for command in commands("kdmri predict") if " G " not in command]
    assert len(asked) == 3  # one of them names no student
    for command in asked:
        words = placed(command, places)[1:]
        out = str(Path(places["scan.png"]).parent / "answers")
        assert "no class for a healthy scan" in kdmri(*words, "--device", "cpu", "--out", out)


def test_every_kdmri_command_of_the_readme_exists():
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    named = {command.split()[1] for command in commands("kdmri ")}
    assert named <= known


def test_every_file_that_the_readme_links_exists():
    links = re.findall(r"\]\(([\w./-]+)\)", TEXT)
    assert links
    assert all((ROOT / link).exists() for link in links)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["prepare", "NOWHERE", "D"], "NOWHERE"),
        (["phantom", "OUT", "--patients", "1"], "at least 3 are needed"),
        (["compare", "NOWHERE"], "NOWHERE"),
        (["curves", "NOWHERE", "--out", "F"], "NOWHERE"),
    ],
)
def test_wrong_input_ends_in_one_line_and_status_one(tmp_path, arguments, told):
    placed_arguments = [str(tmp_path / a) if a in ("NOWHERE", "D", "OUT", "F") else a for a in arguments]
    result = CliRunner().invoke(app, placed_arguments)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert result.output.startswith("error: ")
    assert told in result.output
