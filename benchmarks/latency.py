#!/usr/bin/env python3
"""Time of one image on one CPU thread: the student in every form that a laboratory may run, and its teacher.

    python benchmarks/latency.py RUN --teacher TEACHER_RUN [--rounds 20] [--calls 20] [--out latency.json]

Forms take turns, round by round, in one process; a figure is the 50th or 95th percentile over all calls, a ratio is
that of the medians. The 8-bit form is quantised statically, calibrated on validation slices, and holds where its
balanced accuracy on the test slices of the run is within half a point of that of 32 bits. Goals: the student takes a
twentieth of the teacher's time at most, and has 2 % of its parameters at most.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from sklearn.metrics import balanced_accuracy_score
from torch import nn

from kdmri_monai.data.datalist import load_split
from kdmri_monai.data.store import open_store, split_reference
from kdmri_monai.engines.configured import image_steps
from kdmri_monai.engines.run_student import RunStudent, run_student
from kdmri_monai.evaluation.efficiency import multiply_accumulates
from kdmri_monai.networks.weights import load_weights
from kdmri_monai.sharing.exports import INPUT, ONNX, export_forms

Array = np.ndarray[Any, np.dtype[np.float32]]
Call = Callable[[Array], Any]
CALIBRATION = 128
HOLDS = 0.5
"""Points of balanced accuracy that 8 bits may lose."""


class Slices(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is untyped
    """Images one by one, as the quantiser asks for them."""

    def __init__(self, images: Array) -> None:
        self._images: Iterator[Array] = iter(images)

    def get_next(self) -> dict[str, Array] | None:
        image = next(self._images, None)
        return None if image is None else {INPUT: image[None]}


def opened(run: Path) -> tuple[RunStudent, nn.Module]:
    student = run_student(run, ())
    return student, load_weights(student.network, run / "model.pt").eval()


def images(student: RunStudent, datalist: Path, split: str) -> tuple[Array, Any]:
    """Images ``(N, 1, H, W)`` and labels of a split, as the network takes them."""
    steps, found, label = image_steps(student.config, student.image_size), [], []
    for entry in load_split(datalist, split):
        path, row = split_reference(entry["image"])
        stored = np.asarray(open_store(Path(path))[row], dtype=np.float32)
        found.append(np.asarray(steps({"image": stored})["image"], dtype=np.float32))
        label.append(entry["label"])
    return np.stack(found), np.array(label)


def session(model: Path) -> Call:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    running = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return lambda image: running.run(None, {INPUT: image})[0]


def quantised(model: Path, folder: Path, calibration: Array) -> Path:
    ready, small = folder / "ready.onnx", folder / "int8.onnx"
    quant_pre_process(str(model), str(ready))
    quantize_static(
        str(ready),
        str(small),
        Slices(calibration),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return small


def eager(network: nn.Module) -> Call:
    def call(image: Array) -> Any:
        with torch.inference_mode():
            return network(torch.from_numpy(image)).numpy()

    return call


def scripted(network: nn.Module, image: Array) -> Call:
    with torch.no_grad():
        traced = torch.jit.trace(network, torch.from_numpy(image), check_trace=False)
    return eager(torch.jit.optimize_for_inference(torch.jit.freeze(traced)))


def timed(forms: dict[str, Call], image: Array, rounds: int, calls: int) -> dict[str, list[float]]:
    """Milliseconds of every call; the forms take turns, their order turns too."""
    for call in forms.values():
        for _ in range(5):
            call(image)
    taken: dict[str, list[float]] = {name: [] for name in forms}
    names = list(forms)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            for _ in range(calls):
                began = time.perf_counter()
                forms[name](image)
                taken[name].append(1e3 * (time.perf_counter() - began))
    return taken


def balanced(call: Call, test: Array, label: Any) -> float:
    decided = [int(np.argmax(call(image[None]))) for image in test]
    return float(100 * balanced_accuracy_score(label, decided))


def measured(run: Path, teacher_run: Path, datalist: Path, rounds: int, calls: int) -> dict[str, Any]:
    (student, network), (teacher, large) = opened(run), opened(teacher_run)
    test, label = images(student, datalist, "test")
    calibration = images(student, datalist, "validation")[0][:CALIBRATION]
    image = test[:1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = {}
        for which, one, shape in (("student", network, student.image_shape), ("teacher", large, teacher.image_shape)):
            content = export_forms(one, shape, [ONNX])[ONNX]
            (folder / f"{which}.onnx").write_bytes(content)
            sizes[which] = len(content)
        small = quantised(folder / "student.onnx", folder, calibration)
        forms = {
            "teacher, PyTorch": eager(large),
            "teacher, ONNX Runtime": session(folder / "teacher.onnx"),
            "student, PyTorch": eager(network),
            "student, TorchScript, frozen": scripted(network, image),
            "student, ONNX Runtime": session(folder / "student.onnx"),
            "student, ONNX Runtime, int8": session(small),
        }
        taken = timed(forms, image, rounds, calls)
        accuracy = {name.rpartition(", ")[2]: balanced(forms[name], test, label) for name in list(forms)[-2:]}
        bytes_of = {"ONNX": sizes, "int8": small.stat().st_size}
    median = {name: float(np.median(values)) for name, values in taken.items()}
    whole, eightbit = accuracy["ONNX Runtime"], accuracy["int8"]
    parameters = {
        "student": sum(p.numel() for p in network.parameters()),
        "teacher": sum(p.numel() for p in large.parameters()),
    }
    share = parameters["student"] / parameters["teacher"]
    fastest = min((name for name in median if name.startswith("student")), key=lambda name: median[name])
    ratio = min(median["teacher, PyTorch"], median["teacher, ONNX Runtime"]) / median[fastest]
    return {
        "threads": torch.get_num_threads(),
        "calls of each form": rounds * calls,
        "milliseconds": {
            name: {"p50": round(median[name], 3), "p95": round(float(np.quantile(values, 0.95)), 3)}
            for name, values in taken.items()
        },
        "times as fast as the teacher in PyTorch": {
            name: round(median["teacher, PyTorch"] / median[name], 1) for name in median
        },
        "bytes": bytes_of,
        "multiply-accumulates": {
            "student": multiply_accumulates(network, student.image_shape),
            "teacher": multiply_accumulates(large, teacher.image_shape),
        },
        "parameters": parameters,
        "int8": {
            "balanced accuracy, 32 bits, test slices, %": round(whole, 2),
            "balanced accuracy, 8 bits, %": round(eightbit, 2),
            "n": len(label),
            "holds": abs(whole - eightbit) <= HOLDS,
        },
        "goals": {
            "fastest student": fastest,
            "times as fast as the teacher's fastest form": round(ratio, 1),
            "at least 20 times": ratio >= 20,
            "share of the parameters, %": round(100 * share, 1),
            "at most 2 %": share <= 0.02,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--datalist", type=Path, help="that of the run by default")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    datalist = given.datalist or Path(json.loads((given.run / "run.json").read_text())["data"]["datalist"])
    text = json.dumps(measured(given.run, given.teacher, datalist, given.rounds, given.calls), indent=1)
    if given.out is not None:
        given.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
