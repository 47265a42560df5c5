#!/usr/bin/env python3
"""Teacher, baseline and distilled student on one dataset folder, evaluated and compared, through the bundle.

    python scripts/three_arms.py D RUNS --image_size 96 --max_epochs 40 --teacher_epochs 60

Every step is a command that is printed before it runs, so that it can be repeated by hand. What was interrupted
goes on, what is finished is not done again.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = Path("bundles/kd/configs")
KDMRI = str(Path(sys.executable).with_name("kdmri"))
OVERLAYS = {"teacher": ["teacher.json"], "baseline": ["baseline.json"], "distilled": []}


def call(*command: str) -> None:
    print("\n$", " ".join(command), flush=True)
    subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"PYTHONWARNINGS": "ignore"})


def bundle(run_id: str, overlays: list[str], *overrides: str) -> None:
    files = [str(CONFIGS / name) for name in ["train.json", *overlays]]
    logging = ["--logging_file", str(CONFIGS / "logging.conf")]
    call(sys.executable, "-m", "monai.bundle", "run", run_id, "--config_file", str(files), *logging, *overrides)


def three_arms(data: Path, runs: Path, *, image_size: int, epochs: int, teacher_epochs: int, batch_size: int) -> None:
    for arm, overlays in OVERLAYS.items():
        shared = ["--dataset_dir", str(data), "--output_dir", str(runs / arm), "--image_size", str(image_size)]
        schedule = [
            "--max_epochs",
            str(teacher_epochs if arm == "teacher" else epochs),
            "--batch_size",
            str(batch_size),
        ]
        teacher = ["--teacher_ckpt", str(runs / "teacher" / "model.pt")] if arm == "distilled" else []
        bundle("training", overlays, *shared, *schedule, *teacher, "--resume", "true")
        bundle("evaluating", [*overlays, "evaluate.json"], *shared, "--progress", "false")
    folders = {arm: str(runs / arm) for arm in OVERLAYS}
    call(KDMRI, "compare", *folders.values())
    call(KDMRI, "curves", folders["baseline"], folders["distilled"], "--out", str(runs / "figures"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--image_size", type=int, default=96)
    parser.add_argument("--max_epochs", type=int, default=60)
    parser.add_argument("--teacher_epochs", type=int, default=60)
    parser.add_argument("--batch_size", type=int, default=32)
    given = parser.parse_args()
    three_arms(
        given.data.resolve(),
        given.runs.resolve(),
        image_size=given.image_size,
        epochs=given.max_epochs,
        teacher_epochs=given.teacher_epochs,
        batch_size=given.batch_size,
    )


if __name__ == "__main__":
    main()
