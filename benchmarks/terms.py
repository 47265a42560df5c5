#!/usr/bin/env python3
"""Cost of every distillation term, as a ratio to the training step without it, in one run.

    python benchmarks/terms.py [--image_size 96] [--batch_size 32] [--rounds 5] [--embed_dim 36] [--device cpu]

Student with a geometry head, and teacher that sees geometry, are those of the bundle, with random weights, images and
masks. A step is the teacher's forward pass, the student's forward and backward pass and the optimiser. Every round
takes each term once, turn by turn with the step without any term; the ratio is that of the medians over the rounds
after the first. ``without teacher`` is the plain supervised step.
"""

import argparse
import json
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore")

import torch  # noqa: E402
from monai.bundle import ConfigParser  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from kdmri_monai.engines import Distiller, TeacherReader  # noqa: E402
from kdmri_monai.losses import DistillationInputs, Terms  # noqa: E402

CONFIGS = Path(__file__).resolve().parent.parent / "bundles" / "kd" / "configs"
VECTORS = {"student": ["backbone.fc:input"], "teacher": [{"module": "fusion", "item": 2}]}
TAPS: dict[str, Any] = {
    "geometry": {"student": ["head.maps"]},
    "ofa": {"student": ["backbone.layer[23]"]},
    **dict.fromkeys(("rsd", "vkd", "rkd", "lelp", "procrustes", "infonce"), VECTORS),
}


class Step:
    """One training step with one term, or with none."""

    def __init__(self, given: argparse.Namespace, name: str | None, with_teacher: bool = True) -> None:
        torch.manual_seed(0)
        parser = ConfigParser(
            ConfigParser.load_config_files(
                [str(CONFIGS / f"{part}.json") for part in ("train", "geometry_teacher", "geometry_head")]
            )
        )
        parser["image_size"], parser["teacher_def#backbone#embed_dim"] = given.image_size, given.embed_dim
        self.student: nn.Module = parser.get_parsed_content("network_def").to(given.device)
        teacher: nn.Module = parser.get_parsed_content("teacher_def").to(given.device)
        shape = (1, given.image_size, given.image_size)
        self.reader: Any = TeacherReader(teacher) if with_teacher else None
        self.distiller: Distiller | None = None
        if name is not None:
            taps = parser.get_parsed_content("student_taps"), parser.get_parsed_content("teacher_taps")
            term = {"name": name, "taps": TAPS.get(name, {})}
            self.distiller = Distiller(self.student, teacher, [term], *taps, image_shape=shape).to(given.device)
            self.reader = self.distiller.read_teacher
        learned = [*self.student.parameters(), *(self.distiller.parameters() if self.distiller else ())]
        self.optimizer = torch.optim.AdamW(learned)
        self.batch = random_batch(given)
        if name is not None and Terms[name].needs_fit:
            self._fit(name)

    def _fit(self, name: str) -> None:
        many = [self.reader(self.batch["image"], self.batch) for _ in range(4)]
        features = torch.cat(
            [found[0].mean((2, 3)) + 0.1 * torch.randn_like(found[0].mean((2, 3))) for _, found in many]
        )
        labels = self.batch["label"].repeat(4)
        self.distiller.terms[name].term.fit(features, torch.cat([logits for logits, _ in many]), labels)

    def __call__(self) -> None:
        image, label = self.batch["image"], self.batch["label"]
        logits, theirs = self.reader(image, self.batch) if self.reader is not None else (torch.empty(0), [])
        self.optimizer.zero_grad()
        if self.distiller is None:
            loss = nn.functional.cross_entropy(self.student(image), label)
        else:
            with self.distiller.student_taps.collect() as mine:
                own = self.student(image)
            inputs = DistillationInputs(own, logits, label, mine, theirs, self.batch)
            loss = nn.functional.cross_entropy(own, label) + self.distiller(inputs, epoch=1.0).total
        loss.backward()
        self.optimizer.step()


def random_batch(given: argparse.Namespace) -> dict[str, Tensor]:
    """Noise with discs for tumours."""
    size, count = given.image_size, given.batch_size
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    places = size * (0.3 + 0.4 * torch.rand(count, 2))
    radii = size * (0.06 + 0.1 * torch.rand(count))
    mask = torch.stack([(y - a) ** 2 + (x - b) ** 2 <= r**2 for (a, b), r in zip(places, radii, strict=True)])[:, None]
    batch = {
        "image": torch.rand(count, 1, size, size),
        "label": torch.arange(count) % 3,
        "mask": mask.float(),
        "has_mask": torch.ones(count, dtype=torch.bool),
    }
    return {key: value.to(given.device) for key, value in batch.items()}


def seconds(step: Step, device: str) -> float:
    """Time of one step."""
    if device != "cpu":
        torch.cuda.synchronize()
    began = time.perf_counter()
    step()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Ratios by name of the term."""
    names = [name.lower() for name in Terms.names]
    plain = Step(given, None)
    steps = {name: Step(given, name) for name in names} | {"without teacher": Step(given, None, with_teacher=False)}
    times: dict[str, list[float]] = {name: [] for name in steps}
    reference: list[float] = []
    for number in range(given.rounds + 1):
        for name, step in steps.items():
            pair = seconds(plain, given.device), seconds(step, given.device)
            if number:
                reference.append(pair[0])
                times[name].append(pair[1])
    base = statistics.median(reference)
    settings = {name: getattr(given, name) for name in ("image_size", "batch_size", "rounds", "embed_dim", "device")}
    return {
        "settings": settings | {"threads": torch.get_num_threads(), "torch": torch.__version__},
        "step_with_teacher_seconds": base,
        "ratio": {name: round(statistics.median(found) / base, 3) for name, found in times.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("image_size", 96), ("batch_size", 32), ("rounds", 5), ("embed_dim", 36)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default="cpu")
    print(json.dumps(measure(parser.parse_args()), indent=1))


if __name__ == "__main__":
    main()
