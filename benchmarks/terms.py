#!/usr/bin/env python3
"""What every distillation term adds to a training step: all terms in one process, turn by turn.

    python benchmarks/terms.py [--image_size 96] [--batch_size 32] [--rounds 5] [--embed_dim 36] [--device cpu]

Student, teacher and taps are those of the bundle (``train.json`` with ``geometry_teacher.json``), on random images and
masks. A step is teacher, student, cross-entropy, the term, backward and optimiser. ``ratio`` is the time of a step with
the term to that of the step without it, in which the teacher runs too but nobody listens: so it holds what the term
itself costs, its taps, its layers and their backward. ``geometry`` is measured on a student with a geometry head, and
against that student. ``without teacher`` is the ratio of the plain supervised step to the step without a term. A round
is ``--steps`` steps of each; the ratios are those of the medians over the rounds after the first.
"""

import argparse
import copy
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore")

import torch  # noqa: E402
from monai.bundle import ConfigParser  # noqa: E402
from monai.utils import set_determinism  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from kdmri_monai.engines import Distiller, FitTerms, TeacherReader  # noqa: E402
from kdmri_monai.losses import DistillationInputs, Terms  # noqa: E402

CONFIGS = Path(__file__).resolve().parent.parent / "bundles" / "kd" / "configs"
SIDES = ("student", "teacher")
LAST_ONLY = ("lelp",)
WITH_HEAD = {"geometry": {"student": ["head.maps"]}}
Batch = dict[str, Any]


def configured(arguments: argparse.Namespace, *overlays: str) -> ConfigParser:
    """The shipped configuration with the geometry teacher."""
    files = [str(CONFIGS / name) for name in ("train.json", "geometry_teacher.json", *overlays)]
    parser = ConfigParser(ConfigParser.load_config_files(files))
    parser["image_size"], parser["device"] = arguments.image_size, arguments.device
    parser["teacher_def#backbone#embed_dim"] = arguments.embed_dim
    parser.parse()
    return parser


def random_batch(arguments: argparse.Namespace, seed: int) -> Batch:
    """Noise of 0 to 1 and square tumours; no term costs more or less for what the pixels show."""
    noise = torch.Generator().manual_seed(seed)
    size, samples = arguments.image_size, arguments.batch_size
    image = torch.rand(samples, 1, size, size, generator=noise)
    mask = torch.zeros_like(image)
    mask[:, :, size // 3 : size // 2, size // 3 : size // 2] = 1.0
    batch = {"image": image, "mask": mask, "label": torch.arange(samples) % 3, "has_mask": torch.ones(samples).bool()}
    return {key: value.to(arguments.device) for key, value in batch.items()}


class Step:
    """One training step of a student of its own; ``term`` is what its distiller is made of."""

    def __init__(self, config: ConfigParser, teacher: nn.Module | None, term: Batch | None = None) -> None:
        set_determinism(0)
        shape = [1, config["image_size"], config["image_size"]]
        self.student = copy.deepcopy(config.get_parsed_content("network_def")).to(config["device"]).train()
        self.distiller: Distiller | None = None
        self.read_teacher = None if teacher is None else TeacherReader(teacher, (), image_shape=shape)
        learned = [*self.student.parameters()]
        if term is not None:
            taps = [config.get_parsed_content(f"{side}_taps") for side in SIDES]
            self.distiller = Distiller(self.student, teacher, [term], *taps, image_shape=shape)
            self.read_teacher = self.distiller.read_teacher
            learned += self.distiller.parameters()
        self.optimizer = torch.optim.AdamW(learned, lr=1e-4)

    def __call__(self, batch: Batch) -> None:
        self.optimizer.zero_grad()
        taught: tuple[Tensor, list[Tensor]] = torch.empty(0), []
        if self.read_teacher is not None:
            taught = self.read_teacher(batch["image"], batch)
        if self.distiller is None:
            loss = nn.functional.cross_entropy(self.student(batch["image"]), batch["label"])
        else:
            with self.distiller.student_taps.collect() as features:
                logits = self.student(batch["image"])
            given = DistillationInputs(logits, taught[0], batch["label"], features, taught[1], batch)
            loss = nn.functional.cross_entropy(logits, batch["label"]) + self.distiller(given, epoch=0.0).total
        loss.backward()
        self.optimizer.step()


def term_of(name: str, config: ConfigParser) -> Batch:
    """A term with its taps: those of the bundle, or the last pair of them for a term that takes one."""
    if name in WITH_HEAD:
        return {"name": name, "taps": WITH_HEAD[name]}
    if name in LAST_ONLY:
        return {"name": name, "taps": {side: config.get_parsed_content(f"{side}_taps")[-1:] for side in SIDES}}
    return {"name": name}


def steps_of_all(arguments: argparse.Namespace, names: list[str], batches: list[Batch]) -> dict[str, Step]:
    """Every step that is timed, by name; the teacher is shared and has random weights."""
    plain, headed = configured(arguments), configured(arguments, "geometry_head.json")
    set_determinism(0)
    teacher = plain.get_parsed_content("teacher_def").to(arguments.device).requires_grad_(False).eval()
    steps = {
        "without teacher": Step(plain, None),
        "without term": Step(plain, teacher),
        "geometry head, without term": Step(headed, teacher),
    }
    for name in names:
        config = headed if name in WITH_HEAD else plain
        steps[name] = Step(config, teacher, term_of(name, config))
        distiller = steps[name].distiller
        assert distiller is not None
        FitTerms(batches, distiller, torch.device(arguments.device))(None)
    return steps


def seconds(action: Callable[[], Any], device: str) -> float:
    began = time.perf_counter()
    action()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def timed(steps: dict[str, Step], batches: list[Batch], arguments: argparse.Namespace) -> dict[str, float]:
    """Median time of every step, seconds; the order of a round is turned around in the next."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(arguments.rounds + 1):
        for name in sorted(steps, reverse=bool(turn % 2)):
            action = steps[name]
            spent = seconds(lambda: [action(batch) for batch in batches[: arguments.steps]], arguments.device)  # noqa: B023
            times[name].append(spent / arguments.steps)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image_size", type=int, default=96)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--embed_dim", type=int, default=36, help="width of the teacher, a multiple of 12")
    parser.add_argument("--steps", type=int, default=2, help="of each in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--terms", nargs="+", help="names of terms; all by default")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    names = arguments.terms or [name.lower() for name in Terms.names]
    fitting = max(arguments.steps, -(-36 // arguments.batch_size))  # lelp wants more samples than directions
    batches = [random_batch(arguments, seed) for seed in range(fitting)]
    medians = timed(steps_of_all(arguments, names, batches), batches, arguments)
    base = {name: "geometry head, without term" if name in WITH_HEAD else "without term" for name in names}
    ratios = {name: medians[name] / medians[base[name]] for name in names}
    result = {
        "ratio": {name: round(ratio, 3) for name, ratio in sorted(ratios.items(), key=lambda item: item[1])},
        "without teacher": round(medians["without teacher"] / medians["without term"], 3),
        "milliseconds per step": {name: round(1e3 * value, 1) for name, value in medians.items()},
        **{name: getattr(arguments, name) for name in ("image_size", "batch_size", "embed_dim", "steps", "rounds")},
        "device": arguments.device,
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
