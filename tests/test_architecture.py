"""The order of the layers, quick starts, and files of one idea."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "kdmri_monai"
ORDER = ["data", "networks", "losses", "engines", "evaluation", "report", "sharing", "study", "cli"]
FILES = sorted(PACKAGE.rglob("*.py"))


def layer(parts):
    return ORDER.index(parts[0].removesuffix(".py")) if parts[0].removesuffix(".py") in ORDER else None


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_layer_imports_only_layers_to_its_left(path):
    own = layer(path.relative_to(PACKAGE).parts)
    for module in imported(ast.parse(path.read_text())):
        parts = module.split(".")
        if own is None or parts[0] != "kdmri_monai" or len(parts) == 1:
            continue
        assert layer(parts[1:]) is None or layer(parts[1:]) <= own, f"{path} imports {module}"


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name in ("data", "phantom")], ids=lambda p: p.name)
def test_data_needs_no_torch_but_for_readers_and_transforms(path):
    heads = {module.split(".")[0] for module in imported(ast.parse(path.read_text()))}
    assert path.name in ("readers.py", "transforms.py") or not heads & {"torch", "monai", "ignite"}


def test_the_command_line_starts_without_torch():
    script = "import sys, kdmri_monai.cli, kdmri_monai.data.prepare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_short_and_their_names_say_something(path):
    assert path.stem not in {"utils", "helpers", "common", "base", "misc"}
    assert len(path.read_text().splitlines()) <= 260
