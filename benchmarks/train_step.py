#!/usr/bin/env python3
"""Time of one distillation step: the bundle's trainer against a loop written by hand, in one process, turn by turn.

    python benchmarks/train_step.py --dataset_dir D [--image_size 96] [--batch_size 32] [--rounds 5] [--device cpu]

Both do the same work on the same slices: batches from memory, the bundle's augmentation, teacher, student,
cross-entropy, softened logits, fused features, backward, clipping, optimiser. The trainer adds what a run has:
Ignite's events, every term and the accuracy gathered, learning rate and curves to JSON lines and TensorBoard, the
guard against NaN. A round is one epoch of each; the ratio is that of the medians over the rounds after the first.
"""

import argparse
import copy
import json
import logging
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore")

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from monai.bundle import ConfigParser  # noqa: E402

from kdmri_monai.losses import hcl_loss, kd_loss  # noqa: E402
from kdmri_monai.networks.resampling import channel_norm, match_size  # noqa: E402

TRAIN = Path(__file__).resolve().parent.parent / "bundles" / "kd" / "configs" / "train.json"


def configured(arguments: argparse.Namespace, folder: Path) -> ConfigParser:
    """The shipped configuration with a teacher of random weights, no validation and no checkpoints."""
    parser = ConfigParser(ConfigParser.load_config_file(str(TRAIN)))
    parser["dataset_dir"], parser["output_dir"] = str(arguments.dataset_dir), str(folder)
    for name in ("image_size", "batch_size", "device"):
        parser[name] = getattr(arguments, name)
    parser["progress"], parser["val_interval"], parser["max_epochs"] = False, 10**9, 10**9
    parser["teacher_ckpt"] = str(folder / "teacher.pt")
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


class HandWritten:
    """What one writes without a framework: hooks, two losses, one loop."""

    def __init__(self, parser: ConfigParser, device: str) -> None:
        dataset = parser.get_parsed_content("train#dataset")
        items = [dataset[i] for i in range(len(dataset))]
        data = torch.utils.data.TensorDataset(
            torch.stack([item["image"] for item in items]), torch.tensor([item["label"] for item in items])
        )
        self.loader = torch.utils.data.DataLoader(data, parser["batch_size"], shuffle=True)
        self.device = device
        self.student = copy.deepcopy(parser.get_parsed_content("network"))
        self.teacher = copy.deepcopy(parser.get_parsed_content("teacher"))
        self.fusion = copy.deepcopy(parser.get_parsed_content("distiller").terms["hcl"].term.fusion)
        self.augment = parser.get_parsed_content("augmentation")
        self.parameters = [*self.student.parameters(), *self.fusion.parameters()]
        self.optimizer = torch.optim.AdamW(
            self.parameters, parser["learning_rate"], weight_decay=parser["weight_decay"]
        )
        self.seen: dict[str, list[torch.Tensor]] = {"student": [], "teacher": []}
        for kind, network in (("student", self.student), ("teacher", self.teacher)):
            for name in parser[f"{kind}_taps"]:
                hook = self._keep(self.seen[kind])
                network.get_submodule(name).register_forward_hook(hook)

    @staticmethod
    def _keep(features: list[torch.Tensor]) -> Any:
        return lambda _module, _inputs, output: features.append(output)

    def epoch(self) -> None:
        self.student.train()
        for image, label in self.loader:
            image, label = image.to(self.device), label.to(self.device)
            self.seen["student"].clear()
            self.seen["teacher"].clear()
            with torch.no_grad():
                image = self.augment(image)
                taught = self.teacher(image)
            logits = self.student(image)
            fused = self.fusion(self.seen["student"])
            targets = [
                match_size(channel_norm(t), f.shape[2:]) for t, f in zip(self.seen["teacher"], fused, strict=True)
            ]
            loss = F.cross_entropy(logits, label) + kd_loss(logits, taught, 2.0) + hcl_loss(fused, targets)
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, 5.0)
            self.optimizer.step()


def seconds(action: Any, device: str) -> float:
    began = time.perf_counter()
    action()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_dir", type=Path, required=True)
    parser.add_argument("--image_size", type=int, default=96)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        config = configured(arguments, Path(folder))
        trainer, by_hand = config.get_parsed_content("train#trainer"), HandWritten(config, arguments.device)
        batches = len(by_hand.loader)

        def train_one_epoch() -> None:
            trainer.state.max_epochs = trainer.state.epoch + 1
            trainer.run()

        times: dict[str, list[float]] = {"trainer": [], "by hand": []}
        for turn in range(arguments.rounds + 1):
            order = [("trainer", train_one_epoch), ("by hand", by_hand.epoch)]
            for name, action in order if turn % 2 else order[::-1]:
                times[name].append(seconds(action, arguments.device) / batches)
        medians = {name: statistics.median(values[1:]) for name, values in times.items()}
        result = {
            "ratio": round(medians["trainer"] / medians["by hand"], 3),
            "milliseconds per step": {name: round(1e3 * value, 1) for name, value in medians.items()},
            "rounds": arguments.rounds,
            "batches per round": batches,
            "image_size": arguments.image_size,
            "batch_size": arguments.batch_size,
            "device": arguments.device,
            "threads": torch.get_num_threads(),
        }
        print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
