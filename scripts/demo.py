#!/usr/bin/env python3
"""The whole way on phantoms: data, teacher, baseline, distilled student, evaluation, table, curves.

Every step is a command that is printed before it runs, so that it can be repeated by hand. An interrupted demo goes on.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUNDLE = Path("bundles/kd")
CONFIGS = BUNDLE / "configs"
PHANTOMS, DATA, RUNS = BUNDLE / "phantoms", BUNDLE / "dataset", BUNDLE / "runs"
KDMRI = str(Path(sys.executable).with_name("kdmri"))
ARMS = {"teacher": ["teacher.json"], "baseline": ["baseline.json"], "distilled": []}
SETTINGS = ["--image_size", "96", "--max_epochs", "24", "--batch_size", "16"]


def call(*command: str) -> None:
    print("\n$", " ".join(command), flush=True)
    subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"PYTHONWARNINGS": "ignore"})


def bundle(run_id: str, overlays: list[str], *overrides: str) -> None:
    files = [str(CONFIGS / name) for name in ["train.json", *overlays]]
    logging = ["--logging_file", str(CONFIGS / "logging.conf")]
    call(sys.executable, "-m", "monai.bundle", "run", run_id, "--config_file", str(files), *logging, *overrides)


def main() -> None:
    began = time.monotonic()
    call(KDMRI, "phantom", str(PHANTOMS), "--patients", "24", "--seed", "0")
    call(KDMRI, "prepare", str(PHANTOMS), str(DATA))
    for arm, overlays in ARMS.items():
        folder = ["--dataset_dir", str(DATA), "--output_dir", str(RUNS / arm)]
        teacher = ["--teacher_ckpt", str(RUNS / "teacher" / "model.pt")] if arm == "distilled" else []
        bundle("training", overlays, *folder, *teacher, *SETTINGS, "--resume", "true")
        bundle("evaluating", [*overlays, "evaluate.json"], *folder, *SETTINGS[:2], "--progress", "false")
    runs = [str(RUNS / arm) for arm in ARMS]
    call(KDMRI, "compare", *runs)
    call(KDMRI, "curves", *runs[1:], "--out", str(RUNS / "figures"))
    print(f"\nAll of it took {(time.monotonic() - began) / 60:.1f} minutes. The result: {ROOT / RUNS / 'distilled'}")


if __name__ == "__main__":
    main()
