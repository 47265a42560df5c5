#!/usr/bin/env python3
"""Images a second of a distillation step: the bundle's trainer, a loop by hand, MONAI's usual way, in turns.

    python benchmarks/train_step.py --dataset_dir D [--image_size 96] [--batch_size 32] [--rounds 5] [--device cpu]

All do the same work on the same slices: teacher, student, cross-entropy, softened logits, fused features, backward,
clipping, optimiser. The first two read resident tensors and augment batch by batch, as the bundle does; the usual way
caches samples, augments them one by one in workers and collates (``step_monai.py``; it does not clip). The trainer adds
what a run has: Ignite's events, every term and the accuracy gathered, learning rate and curves to JSON lines and
TensorBoard, the guard against NaN, the average of weights. A round is one epoch of each; a ratio is that of the medians
over the rounds after the first. ``--memory`` measures the peak of each in a process of its own.

Goals: at least 1.0 times the loop by hand; at least 5 times the usual way on a GPU, 1.2 times on two CPU cores.
"""

import argparse
import json
import logging
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore")

import torch  # noqa: E402
from monai.bundle import ConfigParser  # noqa: E402
from step_by_hand import HandWritten  # noqa: E402
from step_limit import peak_flops, step_flops  # noqa: E402
from step_monai import UsualWay  # noqa: E402

TRAIN = Path(__file__).resolve().parent.parent / "bundles" / "kd" / "configs" / "train.json"


def configured(arguments: argparse.Namespace, folder: Path) -> ConfigParser:
    """The shipped configuration with a teacher of random weights, no validation and no checkpoints."""
    parser = ConfigParser(ConfigParser.load_config_file(str(TRAIN)))
    parser["dataset_dir"], parser["output_dir"] = str(arguments.dataset_dir), str(folder)
    for name in ("image_size", "batch_size", "device"):
        parser[name] = getattr(arguments, name)
    parser["progress"], parser["val_interval"], parser["max_epochs"] = False, 10**9, 10**9
    parser["teacher_ckpt"], parser["teacher_data_unknown"] = str(folder / "teacher.pt"), True
    parser["train#handlers"] = [
        handler for handler in parser.get("train#handlers") if not handler["_target_"].endswith("RunCheckpoints")
    ]
    # LambdaLR over 10^9 epochs and a ramp over a third of them leave weights near zero: give both their full size
    parser["lr_scheduler"] = {
        "_target_": "torch.optim.lr_scheduler.ConstantLR",
        "optimizer": "@optimizer",
        "factor": 1.0,
    }
    parser["terms#1#schedule"] = None
    parser.parse()
    torch.save(parser.get_parsed_content("teacher_def").state_dict(), folder / "teacher.pt")
    return parser


def seconds(action: Any, device: str) -> float:
    began = time.perf_counter()
    action()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


ARMS = ("trainer", "by hand", "MONAI's usual way")


class Trainer:
    """The bundle's trainer, epoch by epoch."""

    def __init__(self, parser: ConfigParser) -> None:
        self.trainer = parser.get_parsed_content("train#trainer")

    def epoch(self) -> None:
        self.trainer.state.max_epochs = self.trainer.state.epoch + 1
        self.trainer.run()


def arm(name: str, parser: ConfigParser, given: argparse.Namespace) -> Any:
    if name == ARMS[0]:
        return Trainer(parser)
    return HandWritten(parser, given.device) if name == ARMS[1] else UsualWay(parser, given.device, given.workers)


def peak_memory(name: str, given: argparse.Namespace) -> float:
    """MiB at most: of the device's allocations, or resident in a process of its own and its workers."""
    words = ["--dataset_dir", given.dataset_dir, "--image_size", given.image_size, "--batch_size", given.batch_size]
    words += ["--device", given.device, "--workers", given.workers, "--peak_of", name]
    command = [sys.executable, "-W", "ignore", __file__, *map(str, words)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(told.split()[-1])


def tell_peak(given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one = arm(given.peak_of, configured(given, Path(folder)), given)
        one.epoch()
        if torch.device(given.device).type == "cuda":
            print(torch.cuda.max_memory_allocated() / 2**20)
        else:
            print(sum(map(resident, [os.getpid(), *(child.pid for child in multiprocessing.active_children())])))


def resident(process: int) -> float:
    """MiB that a process held at most; ``getrusage`` would count what its parent held when it was started."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**10


def measured(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    config = configured(given, folder)
    arms = {name: arm(name, config, given) for name in ARMS}
    batches, slices = len(config.get_parsed_content("train#dataloader")), len(arms["by hand"].label)
    times: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(given.rounds + 1):
        for place in range(len(ARMS)):
            name = ARMS[(turn + place) % len(ARMS)]
            times[name].append(seconds(arms[name].epoch, given.device))
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    flops = step_flops(arms["by hand"].pair, given.batch_size, given.image_size, given.device)
    amp = bool(config.get_parsed_content("amp"))
    dtype = config.get_parsed_content("amp_dtype") if amp else torch.float32
    peak, cuda = peak_flops(given.device, dtype), torch.device(given.device).type == "cuda"
    ratios = {name: medians[name] / medians["trainer"] for name in ARMS[1:]}
    goals = {"by hand": 1.0, "MONAI's usual way": 5.0 if cuda else 1.2}
    return {
        "images per second": {name: round(slices / value, 1) for name, value in medians.items()},
        "times as fast as": {name: round(value, 3) for name, value in ratios.items()},
        "goals": {name: {"at least": goal, "reached": ratios[name] >= goal} for name, goal in goals.items()},
        "milliseconds per step": {name: round(1e3 * value / batches, 1) for name, value in medians.items()},
        "operations of a step": flops,
        "share of the matrix product's speed, %": round(100 * flops * batches / medians["trainer"] / peak, 1),
        "matrix product, GFLOP/s": round(peak / 1e9, 1),
        "precision": str(dtype).rpartition(".")[2],
        "rounds": given.rounds,
        "batches per round": batches,
        "image_size": given.image_size,
        "batch_size": given.batch_size,
        "device": given.device,
        "threads": torch.get_num_threads(),
        "workers of the usual way": given.workers,
        **{name: f"not run: {why}" for name, why in NOT_RUN.items()},
    }


NOT_RUN = {
    "torchdistill": "needs torchvision, of which a build must match that of torch; its loop is like that by hand",
    "timm": "its distillation task needs torchvision too",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_dir", type=Path, required=True)
    parser.add_argument("--image_size", type=int, default=96)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=2, help="of MONAI's usual way")
    parser.add_argument("--memory", action="store_true", help="measure the peak of memory too")
    parser.add_argument("--peak_of", choices=ARMS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    logging.disable(logging.INFO)
    if given.peak_of:
        tell_peak(given)
        return
    with tempfile.TemporaryDirectory() as folder:
        result = measured(given, Path(folder))
    if given.memory:
        result["peak memory, MiB"] = {name: round(peak_memory(name, given)) for name in ARMS}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
