#!/usr/bin/env python3
"""Baseline, softened classes, fusion, geometry and all of them, several seeds at equal budget, with their evidence.

    python scripts/geometry_study.py D RUNS --seeds 0 1 2 --max_epochs 30 --teacher_epochs 20 --jobs 2

One teacher that sees the tumour's signed distance and rings teaches all arms. Every arm is the same student on the same
schedule, batches and augmentation. Afterwards each run is evaluated on the test patients: metrics, accuracy with the
tumour erased, energy of Grad-CAM inside the tumour; and ``summary.json`` holds the averages over the seeds with paired
intervals over patient families, and the epochs that an arm needed to reach the baseline's best. What was interrupted
goes on, what is finished is not done again.
"""

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from study_summary import PARTS, summarise
from three_arms import CONFIGS, call

TEACHER = ["geometry_teacher.json"]
SMALL_TEACHER = ["--teacher_def#backbone#embed_dim", "24", "--teacher_geometry#from_mask", "['distance','rings']"]
ARMS = {
    "baseline": ["baseline.json"],
    "kd": [*TEACHER, "terms_kd.json"],
    "fusion": [*TEACHER, "terms_fusion.json"],
    "geometry": ["without_teacher.json", "geometry_head.json"],
    "all": [*TEACHER, "geometry_head.json"],
    "all_erased": [*TEACHER, "geometry_head.json", "erase_tumour.json"],
}
DEFAULT_ARMS = ["baseline", "kd", "fusion", "geometry", "all"]


def bundle(run_id: str, overlays: list[str], *overrides: str) -> None:
    files = [str(CONFIGS / name) for name in ["train.json", *overlays]]
    logging = ["--logging_file", str(CONFIGS / "logging.conf"), "--progress", "false"]
    call(sys.executable, "-m", "monai.bundle", "run", run_id, "--config_file", str(files), *logging, *overrides)


def train_and_evaluate(given: argparse.Namespace, arm: str, seed: int) -> None:
    overlays, folder = ARMS[arm], given.runs / f"{arm}_{seed}"
    shared = ["--dataset_dir", str(given.data), "--output_dir", str(folder), "--image_size", str(given.image_size)]
    shared += ["--seed", str(seed), "--teacher_ckpt", str(given.runs / "teacher" / "model.pt")]
    shared += SMALL_TEACHER if "geometry_teacher.json" in overlays else []
    bundle("training", overlays, *shared, "--max_epochs", str(given.max_epochs), "--resume", "true")
    if not (folder / "test_metrics.json").is_file():
        bundle("evaluating", [*overlays, "evaluate.json"], *shared)
    bundle("evaluating", [*overlays, "evidence.json"], *shared, "--parts", str(list(PARTS)))


def train_teacher(given: argparse.Namespace) -> None:
    shared = ["--dataset_dir", str(given.data), "--output_dir", str(given.runs / "teacher")]
    shared += ["--image_size", str(given.image_size), *SMALL_TEACHER]
    overlays = [*TEACHER, "teacher.json"]
    bundle("training", overlays, *shared, "--max_epochs", str(given.teacher_epochs), "--resume", "true")
    if not (given.runs / "teacher" / "test_metrics.json").is_file():
        bundle("evaluating", [*overlays, "evaluate.json"], *shared)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=lambda text: Path(text).resolve())
    parser.add_argument("runs", type=lambda text: Path(text).resolve())
    parser.add_argument("--arms", nargs="+", default=DEFAULT_ARMS, choices=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--image_size", type=int, default=96)
    parser.add_argument("--max_epochs", type=int, default=30)
    parser.add_argument("--teacher_epochs", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time; set OMP_NUM_THREADS to share cores")
    given = parser.parse_args()
    train_teacher(given)
    todo = [(arm, seed) for seed in given.seeds for arm in given.arms]
    with ThreadPoolExecutor(given.jobs) as pool:
        for future in [pool.submit(train_and_evaluate, given, arm, seed) for arm, seed in todo]:
            try:
                future.result()
            except subprocess.CalledProcessError as error:
                pool.shutdown(cancel_futures=True)
                sys.exit(f"a step failed: {error}")
    print(summarise(given.runs, given.arms, given.seeds))


if __name__ == "__main__":
    main()
