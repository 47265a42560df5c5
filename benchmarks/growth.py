#!/usr/bin/env python3
"""How time and memory grow with the number of slices: prepare, a training epoch, evaluation, report.

    python benchmarks/growth.py OUT [--patients 24] [--factors 1 4 16] [--image_size 32]

Phantoms of 1, 4 and 16 times as many patients; every step is a command of its own, as a user types it. Told are the
seconds of processor time of a command and what its processes held in memory at most together, sampled ten times a
second. ``exponent`` is the slope of a line through the logarithms, 1 for what is linear; a start that costs the same at
any size pulls it below, so ``seconds per 1,000 slices`` is that of the last stretch alone. OUT/growth.json and
OUT/growth.png; what is measured is not measured again.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import LogLocator, StrMethodFormatter

mpl.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "bundles" / "kd" / "configs"
STEPS = ("prepare", "epoch", "evaluation", "report")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


def commands(home: Path, image_size: int) -> dict[str, list[str]]:
    kdmri = [sys.executable, "-c", "from kdmri_monai.cli import app; app()"]
    train, run = str(CONFIGS / "train.json"), home / "run"
    bundle = [sys.executable, "-m", "monai.bundle", "run"]
    given = ["--dataset_dir", home / "D", "--output_dir", run, "--image_size", image_size, "--max_epochs", 1]
    given += ["--progress", False, "--pictures_every", 0, "--overwrite", True, "--student_def#widen_factor", 0.125]
    files = [train, str(CONFIGS / "baseline.json")]
    return {
        "prepare": [*kdmri, "prepare", home / "source", home / "D", "--size", 64, "--quiet"],
        "epoch": [*bundle, "training", "--config_file", str(files), *given],
        "evaluation": [*bundle, "evaluating", "--config_file", str([*files, str(CONFIGS / "evaluate.json")]), *given],
        "report": [*kdmri, "report", run, "--out", home / "report.html"],
    }


def measured(command: list[Any]) -> dict[str, float]:
    """Processor seconds of a command and its children, and the most MiB that they held together."""
    environment = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"} | os.environ
    before, peak = os.times(), 0.0
    process = subprocess.Popen(
        list(map(str, command)), env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    while process.poll() is None:
        peak = max(peak, held(process.pid))
        time.sleep(0.1)
    assert process.stderr is not None
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{process.stderr.read().decode()[-3000:]}")
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": round(spent, 2), "MiB": round(peak, 1)}


def held(process: int) -> float:
    """MiB of a process and all below it; shared pages count half, by PSS."""
    total, waiting = 0.0, [process]
    while waiting:
        one = waiting.pop()
        try:
            rollup = Path(f"/proc/{one}/smaps_rollup").read_text(encoding="ascii")
            total += int(rollup.partition("Pss:")[2].split()[0]) / 2**10
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += map(int, (task / "children").read_text(encoding="ascii").split())
        except (OSError, IndexError, ValueError):
            continue  # it has just ended
    return total


def growth(out: Path, patients: int, factors: list[int], image_size: int) -> dict[str, Any]:
    file = out / "growth.json"
    told: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {"rows": {}}
    told |= {"patients": patients, "image_size": image_size}
    for factor in factors:
        home, row = out / f"x{factor}", told["rows"].setdefault(str(factor), {})
        home.mkdir(parents=True, exist_ok=True)
        if not (home / "source" / "README.txt").is_file() and not any(home.glob("source/*")):
            phantom = [sys.executable, "-c", "from kdmri_monai.cli import app; app()", "phantom", home / "source"]
            measured([*phantom, "--patients", patients * factor, "--size", 64, "--quiet"])
        for step, command in commands(home, image_size).items():
            if step not in row:
                row[step] = measured(command)
                print(f"x{factor} {step}: {row[step]}", file=sys.stderr, flush=True)
            if "slices" not in row and (home / "D" / "datalist.json").is_file():
                row["slices"] = json.loads((home / "D" / "datalist.json").read_text())["counts"]["slices"]
            file.write_text(json.dumps(told, indent=1) + "\n")
        row["report MB"] = round((home / "report.html").stat().st_size / 1e6, 2)
    told["growth"] = {step: slope(told["rows"], step) for step in STEPS}
    file.write_text(json.dumps(told, indent=1) + "\n")
    return told


def slope(rows: dict[str, Any], step: str) -> dict[str, float]:
    ordered = sorted(rows.values(), key=lambda row: row["slices"])
    slices = np.array([row["slices"] for row in ordered], dtype=float)
    seconds, memory = (np.array([row[step][what] for row in ordered]) for what in ("seconds", "MiB"))
    last = slices[-1] - slices[-2]
    return {
        "exponent of time": round(float(np.polyfit(np.log(slices), np.log(seconds), 1)[0]), 2),
        "seconds per 1,000 slices": round(1e3 * float(seconds[-1] - seconds[-2]) / last, 2),
        "KiB per slice": round(2**10 * float(memory[-1] - memory[-2]) / last, 1),
    }


def draw(told: dict[str, Any], path: Path) -> None:
    rows = sorted(told["rows"].values(), key=lambda row: row["slices"])
    slices = np.array([row["slices"] for row in rows], dtype=float)
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    for axis, what, label in zip(axes, ("seconds", "MiB"), ("processor time, s", "most memory held, MiB"), strict=True):
        for step, colour, marker in zip(STEPS, COLOURS, "osD^", strict=True):
            values = np.array([row[step][what] for row in rows])
            axis.loglog(slices, values, color=colour, marker=marker, label=step)
        low = min(row[step][what] for row in rows for step in STEPS)
        axis.loglog(slices, low * slices / slices[0], color="#666666", linestyle=":", label="linear")
        axis.set(xlabel="slices", ylabel=label)
        axis.set_xticks(slices, [f"{int(number):,}" for number in slices], minor=False)
        axis.minorticks_off()
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--patients", type=int, default=24)
    parser.add_argument("--factors", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--image_size", type=int, default=32)
    given = parser.parse_args()
    told = growth(given.out.resolve(), given.patients, given.factors, given.image_size)
    draw(told, given.out / "growth.png")
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
