#!/usr/bin/env python3
"""Lab A trains, packs and signs; lab B checks, runs, evaluates and fine-tunes: each in a fresh virtual environment.

    python scripts/exchange.py FOLDER [--patients 48] [--epochs 6]

FOLDER gets ``a/`` and ``b/``, which share nothing but the zip archive and lab A's public key. Lab B first has MONAI and
what the bundle's README asks for, and not this package; after inference and evaluation it installs the package too.
Every command is printed before it runs; at the end come sizes, times as shares of the whole, and parity, as JSON too
(``exchange.json``). On two CPU cores it takes about a quarter of an hour, most of it for installing.
"""

import argparse
import csv
import json
import os
import re
import shlex
import subprocess
import sys
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "bundles" / "kd" / "configs"
NAME = "phantom_tumour_classification"
SMALL = "--image_size 64 --batch_size 16 --device cpu --progress False --pictures_every 0"
TEACHER = "--teacher_def#backbone#embed_dim 12 --teacher_def#num_features 192"
PICTURES = """
import sys
from pathlib import Path
import numpy as np
from PIL import Image
from kdmri_monai.data.phantom.slices import phantom_slice
for number in range(int(sys.argv[2])):
    name = ("healthy", "tumour")[number % 2]
    for index in range(4):
        label = None if name == "healthy" else number // 2 % 3
        draw = np.random.default_rng([7, number, index])
        pixels = phantom_slice("axial", label, draw, 128).image.clip(0).astype(float)
        home = Path(sys.argv[1]) / name / f"B{number:03d}"
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 255 / pixels.max()).astype(np.uint8)).save(home / f"B{number:03d}_{index}.png")
"""


class Lab:
    """A folder with a virtual environment of its own; ``PYTHONPATH`` and packages of others are out of sight."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seconds = folder, {}
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)

    def run(self, step: str, command: str, folder: Path | None = None) -> str:
        """Run a command line in the lab's environment; its time goes to the step."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        environment["PATH"] = f"{self.folder / 'venv' / 'bin'}{os.pathsep}{environment['PATH']}"
        print(f"[{self.folder.name}] {command}", flush=True)
        began = time.monotonic()
        done = subprocess.run(
            shlex.split(command),
            cwd=folder or self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        self.seconds[step] = self.seconds.get(step, 0.0) + time.monotonic() - began
        if done.returncode:
            raise SystemExit(f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return done.stdout

    def pip(self, packages: str) -> None:
        """Install with the versions that the tests were run with."""
        self.run(
            "install",
            f"python -m pip install --quiet --disable-pip-version-check -c {ROOT / 'constraints.txt'} {packages}",
        )


def config(*names: str) -> str:
    """The option that lays configurations over each other."""
    files = ",".join(f"'{CONFIGS / name}.json'" for name in names)
    return f'--config_file "[{files}]"'


def lab_a(lab: Lab, patients: int, epochs: int) -> None:
    """Train, evaluate, pack, sign."""
    lab.pip(f'"{ROOT}[sharing]"')
    lab.run("keys", "openssl genpkey -algorithm ed25519 -out lab_a.key")
    lab.run("keys", "openssl pkey -in lab_a.key -pubout -out lab_a.pub")
    lab.run("data", f"kdmri phantom scans --patients {patients} --size 128")
    lab.run("data", "kdmri prepare scans D --size 128")
    given = f"--dataset_dir D --max_epochs {epochs} {SMALL} {TEACHER}"
    lab.run("train", f"python -m monai.bundle run training {config('train', 'teacher')} --output_dir T {given}")
    student = f"{given} --output_dir S --teacher_ckpt T/model.pt"
    lab.run("train", f"python -m monai.bundle run training {config('train')} {student}")
    lab.run("evaluate", f"python -m monai.bundle run evaluating {config('train', 'evaluate')} {student}")
    print(lab.run("pack", f"kdmri pack S --out {NAME}.zip --sign lab_a.key"))


def lab_b(lab: Lab, a: Path, patients: int, epochs: int) -> dict[str, float]:
    """Run and evaluate with MONAI alone; then check, predict and fine-tune with this package."""
    (lab.folder / f"{NAME}.zip").write_bytes((a / f"{NAME}.zip").read_bytes())
    (lab.folder / "lab_a.pub").write_bytes((a / "lab_a.pub").read_bytes())
    with zipfile.ZipFile(lab.folder / f"{NAME}.zip") as archive:
        archive.extractall(lab.folder)
    home = lab.folder / NAME
    readme = (home / "docs" / "README.md").read_text(encoding="utf-8")
    lab.pip(re.findall(r"^    pip install (.*)$", readme, re.MULTILINE)[0])
    absent = "import importlib.util,sys; sys.exit(importlib.util.find_spec('kdmri_monai') is not None)"
    lab.run("check", f'python -c "{absent}"')
    commands = re.findall(r"^    (python -m monai\.bundle .*|python -c .*)$", readme, re.MULTILINE)
    for command in commands:
        if "PICTURES" not in command:
            step = "evaluate" if "evaluating" in command else "inference" if "inference" in command else "check"
            print(lab.run(step, command, home)[-200:])
    gap = difference(home / "eval" / "predictions.csv", home / "smoke" / "expected.csv")
    lab.pip(f'"{ROOT}[sharing]"')
    print(lab.run("audit", f"kdmri audit {NAME}.zip --key lab_a.pub"))
    pictures = " ".join(shlex.quote(str(path)) for path in sorted((home / "smoke").glob("*.png")))
    lab.run("predict", f"kdmri predict {NAME}.zip {pictures} --out answers")
    said = difference(lab.folder / "answers" / "predictions.csv", home / "smoke" / "expected.csv")
    (lab.folder / "pictures.py").write_text(PICTURES, encoding="utf-8")
    lab.run("data", f"python pictures.py own {patients}")
    lab.run("data", "kdmri prepare own D --size 128 --classes healthy,tumour")
    tuned = f"--dataset_dir D --output_dir F --pretrained {NAME}.zip --max_epochs {epochs} {SMALL}"
    names = ("train", "without_teacher", "finetune")
    lab.run("fine-tune", f"python -m monai.bundle run training {config(*names)} {tuned}")
    lab.run("evaluate", f"python -m monai.bundle run evaluating {config(*names, 'evaluate')} {tuned}")
    metrics = json.loads((lab.folder / "F" / "test_metrics.json").read_text(encoding="utf-8"))["slices"]
    return {
        "MONAI alone, largest difference of a probability": gap,
        "kdmri predict, largest difference of a probability": said,
        "fine-tuned on two other classes, balanced accuracy": metrics["balanced_accuracy"]["value"],
    }


def difference(answers: Path, expected: Path) -> float:
    """Largest difference of a probability between two tables with a row a picture."""
    tables = [probabilities(path) for path in (answers, expected)]
    if tables[0].keys() != tables[1].keys():
        raise SystemExit(f"{answers} is of other pictures than {expected}")
    return max(abs(x - y) for name in tables[0] for x, y in zip(tables[0][name], tables[1][name], strict=True))


def probabilities(path: Path) -> dict[str, list[float]]:
    """The columns of probabilities by name of the picture."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    named = [place for place, name in enumerate(rows[0]) if name.startswith("p_")]
    places = named or list(range(1, len(rows[0])))
    return {Path(row[0]).name: [float(row[place]) for place in places] for row in rows if row[places[0]][:1].isdigit()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--patients", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    folder = options.folder.resolve()
    a, b = Lab(folder / "a"), Lab(folder / "b")
    lab_a(a, options.patients, options.epochs)
    found = lab_b(b, a.folder, options.patients, options.epochs)
    with zipfile.ZipFile(a.folder / f"{NAME}.zip") as archive:
        sizes = {info.filename.partition("/")[2]: info.file_size for info in archive.infolist()}
    whole = sum(a.seconds.values()) + sum(b.seconds.values())
    shares = {lab.folder.name: {step: round(took / whole, 4) for step, took in lab.seconds.items()} for lab in (a, b)}
    told = {
        "bytes": (a.folder / f"{NAME}.zip").stat().st_size,
        "files": sizes,
        "shares_of_time": shares,
        "found": found,
    }
    (folder / "exchange.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
