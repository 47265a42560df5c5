"""What the exchange of two labs is judged by; the exchange itself installs two environments and is run by hand."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def exchange():
    spec = importlib.util.spec_from_file_location("exchange", ROOT / "scripts" / "exchange.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_of_all_three_forms_are_compared_by_picture(exchange, tmp_path):
    (tmp_path / "monai.csv").write_text("smoke/a.png,0.25,0.75\nsmoke/b.png,0.5,0.5\n")
    (tmp_path / "expected.csv").write_text("file,one,two\nb.png,0.5,0.5\na.png,0.2,0.8\n")
    (tmp_path / "predict.csv").write_text(
        "file,class,p_one,p_two,reasons\nx/a.png,two,0.2,0.8,1\nx/b.png,one,0.5,0.5,2\n"
    )
    assert exchange.difference(tmp_path / "monai.csv", tmp_path / "expected.csv") == pytest.approx(0.05)
    assert exchange.difference(tmp_path / "predict.csv", tmp_path / "expected.csv") == 0


def test_a_missing_picture_ends_the_exchange(exchange, tmp_path):
    (tmp_path / "monai.csv").write_text("smoke/a.png,0.25,0.75\n")
    (tmp_path / "expected.csv").write_text("file,one,two\nb.png,0.5,0.5\na.png,0.2,0.8\n")
    with pytest.raises(SystemExit, match="other pictures"):
        exchange.difference(tmp_path / "monai.csv", tmp_path / "expected.csv")


def test_its_commands_are_commands_of_this_package(exchange):
    from kdmri_monai.cli import app

    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    text = (ROOT / "scripts" / "exchange.py").read_text()
    named = set(re.findall(r'f?"kdmri (\w+) ', text))
    assert len(named) >= 5
    assert named <= known
    for name in ("train", "teacher", "evaluate", "without_teacher", "finetune"):
        assert (exchange.CONFIGS / f"{name}.json").is_file()
