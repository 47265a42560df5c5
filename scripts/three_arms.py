#!/usr/bin/env python3
"""Teacher, baseline and distilled student on one dataset folder, evaluated and compared, through the bundle.

    python scripts/three_arms.py D RUNS --image_size 96 --max_epochs 40 --teacher_epochs 60 --seeds 0 1 2

It ends with the comparison and the report of all runs. Every step is a command that is printed before it runs, so that
it can be repeated by hand. What was interrupted goes on, what is finished is not done again.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
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


def three_arms(
    data: Path,
    runs: Path,
    *,
    image_size: int,
    epochs: int,
    teacher_epochs: int,
    batch_size: int,
    seeds: Sequence[int] = (0,),
) -> None:
    folders = [runs / "teacher"]
    shared = ["--dataset_dir", str(data), "--image_size", str(image_size), "--batch_size", str(batch_size)]
    _train("teacher", folders[0], seeds[0], teacher_epochs, shared)
    for seed in seeds:
        for arm in ("baseline", "distilled"):
            folders.append(runs / (arm if len(seeds) == 1 else f"{arm}_{seed}"))
            taught = ["--teacher_ckpt", str(folders[0] / "model.pt")] if arm == "distilled" else []
            _train(arm, folders[-1], seed, epochs, [*shared, *taught])
    call(KDMRI, "compare", *map(str, folders), "--json", str(runs / "comparison.json"))
    call(KDMRI, "report", *map(str, folders), "--out", str(runs / "report.html"))


def _train(arm: str, folder: Path, seed: int, epochs: int, given: list[str]) -> None:
    shared = [*given, "--output_dir", str(folder), "--seed", str(seed)]
    bundle("training", OVERLAYS[arm], *shared, "--max_epochs", str(epochs), "--resume", "true")
    bundle("evaluating", [*OVERLAYS[arm], "evaluate.json"], *shared, "--progress", "false")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--image_size", type=int, default=96)
    parser.add_argument("--max_epochs", type=int, default=60)
    parser.add_argument("--teacher_epochs", type=int, default=60)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of baseline and distilled student")
    given = parser.parse_args()
    three_arms(
        given.data.resolve(),
        given.runs.resolve(),
        image_size=given.image_size,
        epochs=given.max_epochs,
        teacher_epochs=given.teacher_epochs,
        batch_size=given.batch_size,
        seeds=given.seeds,
    )


if __name__ == "__main__":
    main()
