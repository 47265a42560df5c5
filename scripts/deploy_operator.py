"""A packed student in MONAI Deploy: an operator that gives every slice of a series the class that the student means.

The SDK's own ``MonaiBundleInferenceOperator`` (4.0.0) takes the whole number below each probability for a class number,
so that every scan is of class "0". ``Classifier`` here is plain MONAI, and needs neither the SDK nor kdmri_monai; the
operator around it hands slices in and text out, and is there only where the SDK is installed.

    python scripts/deploy_operator.py NAME/ scan.npy     # an array (slices, rows, columns), without the SDK

In an application, between ``DICOMSeriesToVolumeOperator`` and ``DICOMTextSRWriterOperator``:

    classify = ClassifyOperator(self, bundle="NAME", name="classify")
    self.add_flow(volume, classify, {("image", "image")})
    self.add_flow(classify, report, {("text", "text")})
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose
from monai.utils import optional_import
from numpy.typing import NDArray

Operator, HAS_SDK = optional_import("monai.deploy.core", name="Operator")

RESEARCH_ONLY = "For research only: every slice is given a tumour class; there is none for a healthy scan."


@dataclass(frozen=True)
class Answer:
    """What the student says of one slice: the most probable class, and the probability of every class by name."""

    label: str
    probabilities: Mapping[str, float]


class Classifier:
    """The student of an unpacked bundle, ready to be asked. Audit a bundle before: its configuration runs code.

    Args:
        bundle: Folder with ``configs/inference.json`` and ``models/model.pt``.
        device: Where to compute; that of the configuration by default.

    Raises:
        FileNotFoundError: One of the two files is missing.
        ValueError: The configuration lacks an id, or names fewer or more classes than the network has.
    """

    def __init__(self, bundle: str | Path, device: str | None = None) -> None:
        root = Path(bundle)
        config, weights = root / "configs" / "inference.json", root / "models" / "model.pt"
        for file in (config, weights):
            if not file.is_file():
                raise FileNotFoundError(f"{root} is no unpacked bundle: there is no {file.relative_to(root)}")
        parser = ConfigParser(ConfigParser.load_config_file(str(config)))
        parser["bundle_root"] = str(root)
        wanted = ("classes", "network_def", "preprocessing", "postprocessing", "device")
        missing = [name for name in wanted if name not in parser]
        if missing:
            raise ValueError(f"{config} has no {', '.join(missing)}")
        self.classes: Sequence[str] = parser.get_parsed_content("classes")
        self.device = torch.device(device or parser.get_parsed_content("device"))
        self.prepare = without_loading(parser.get_parsed_content("preprocessing"))
        self.finish = parser.get_parsed_content("postprocessing")
        self.network = parser.get_parsed_content("network_def").to(self.device).eval()
        self.network.load_state_dict(torch.load(weights, map_location=self.device, weights_only=True))

    @torch.inference_mode()
    def __call__(self, pixels: NDArray[Any]) -> Answer:
        """Ask about one slice.

        Args:
            pixels: Grey values as they come from the scanner, upright, shape ``(rows, columns)``.

        Raises:
            ValueError: The pixels are no single slice, or the student gives another number of classes.
        """
        if pixels.ndim != 2:
            raise ValueError(f"one slice has shape (rows, columns), got {pixels.shape}")
        image = torch.as_tensor(self.prepare({"image": np.asarray(pixels, np.float32)})["image"])
        logits = self.network(image[None].to(self.device)).float()[0].cpu()
        probabilities = torch.as_tensor(self.finish({"image": image, "pred": logits})["pred"]).tolist()
        if len(probabilities) != len(self.classes):
            raise ValueError(f"the student gives {len(probabilities)} classes, the bundle names {len(self.classes)}")
        named = dict(zip(self.classes, probabilities, strict=True))
        return Answer(max(named, key=named.__getitem__), named)


def without_loading(steps: Compose) -> Compose:
    """The steps of a bundle but those that read a file: in an application the pixels are there already."""
    return Compose([step for step in steps.flatten().transforms if not type(step).__name__.startswith("LoadImage")])


def slices_of(image: NDArray[Any]) -> list[NDArray[Any]]:
    """Slices of a series, shape ``(slices, rows, columns)``, or of a single image ``(rows, columns)``.

    Raises:
        ValueError: Neither of the two.
    """
    if image.ndim not in (2, 3):
        raise ValueError(f"a series has shape (slices, rows, columns), got {image.shape}")
    return [image] if image.ndim == 2 else list(image)


def in_words(answers: Sequence[Answer]) -> str:
    """One line a slice, ASCII alone, as a DICOM text report wants it."""
    lines = [
        f"slice {number}: {answer.label} (" + ", ".join(f"{k} {v:.3f}" for k, v in answer.probabilities.items()) + ")"
        for number, answer in enumerate(answers, start=1)
    ]
    return "\n".join([*lines, RESEARCH_ONLY]).encode("ascii", "replace").decode()


if HAS_SDK:

    class ClassifyOperator(Operator):
        """Takes the ``Image`` of a series at ``image``, gives the text for a report at ``text``.

        Args:
            fragment: The application.
            *args: As for ``Operator``.
            bundle: Folder of the unpacked bundle.
            device: As for ``Classifier``.
            **kwargs: As for ``Operator``.
        """

        def __init__(self, fragment: Any, *args: Any, bundle: str, device: str | None = None, **kwargs: Any) -> None:
            self.classifier = Classifier(bundle, device)
            super().__init__(fragment, *args, **kwargs)

        def setup(self, spec: Any) -> None:
            """Name the ports."""
            spec.input("image")
            spec.output("text")

        def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
            """Classify every slice."""
            pixels = op_input.receive("image").asnumpy()
            op_output.emit(in_words([self.classifier(one) for one in slices_of(pixels)]), "text")


def main() -> None:
    """Classify the slices of an array."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", help="unpacked bundle")
    parser.add_argument("scan", type=Path, help=".npy, shape (slices, rows, columns) or (rows, columns)")
    parser.add_argument("--device")
    given = parser.parse_args()
    classifier = Classifier(given.bundle, given.device)
    print(in_words([classifier(one) for one in slices_of(np.load(given.scan, allow_pickle=False))]))


if __name__ == "__main__":
    main()
