"""``metadata.json`` of a packed bundle, as MONAI's specification asks for it, filled from the run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from kdmri_monai.sharing.exports import ONNX, OPSET
from kdmri_monai.sharing.local_paths import without_folders
from kdmri_monai.sharing.packed_configs import PackedNetwork
from kdmri_monai.sharing.packed_network import needs_package
from kdmri_monai.sharing.parity import BATCHES, TOLERANCE

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
OF_FOLDS = "networks of the same recipe, each on patients held out from it; this network learned from all of them"
NEEDED = ("pytorch-ignite", "pillow", "fire")
"""What inference and evaluation need beside MONAI, torch and NumPy, by the names of the package index."""

MEASURES = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auroc", "ece")
INTENDED = (
    "Research only; not for diagnosis. Every image is given one of the classes below, a healthy scan, another disease "
    "or a photograph too"
)
METHOD = "Hinton et al., Distilling the knowledge in a neural network, arXiv:1503.02531"
DATA = (
    "Cheng et al., Enhanced performance of brain tumor classification via tumor region augmentation and partition, "
    "PLOS ONE 2015, doi 10.1371/journal.pone.0140381"
)


@dataclass(frozen=True)
class PackedFacts:
    """What is known of a run, for the metadata and the documents.

    Attributes:
        name: Of the bundle.
        version: Of the bundle.
        changes: What is new in this version.
        metrics: ``test_metrics.json``, or ``folds_metrics.json``; ``None`` where the run was not evaluated.
        of_folds: Whether the metrics are those of other runs, on folds.
        calibration: Where the temperature comes from.
        data: ``data`` of ``run.json``: checksum of the datalist, counts, training families.
        source: Where the training slices come from, in a line.
        revision: Git revision of the code that trained, or ``None``.
        settings: ``settings`` of ``run.json``.
        published: Whether the training slices are of the Figshare set.
        authors: Who packed the bundle.
    """

    name: str
    version: str
    changes: str
    metrics: Mapping[str, Any] | None
    of_folds: bool
    calibration: str
    data: Mapping[str, Any]
    source: str
    revision: str | None
    settings: Mapping[str, Any]
    published: bool
    authors: str


def metadata(student: PackedNetwork, facts: PackedFacts, gaps: Mapping[str, float]) -> dict[str, Any]:
    """The content of ``metadata.json``.

    Args:
        student: Network, size and classes.
        facts: What is known of the run.
        gaps: Largest difference of a probability by form.
    """
    size, count = student.image_size, len(student.classes)
    named = ", ".join(f"{number} {name}" for number, name in enumerate(student.classes))
    return {
        "schema": SCHEMA,
        "version": facts.version,
        "changelog": {facts.version: facts.changes},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {name: version(name) for name in needed(student)},
        "supported_apps": {},
        "name": facts.name,
        "task": f"Classification of single MRI slices: {', '.join(student.classes)}",
        "description": f"A small network{', taught by a larger one' if facts.settings.get('teacher_ckpt') else ''}",
        "authors": facts.authors,
        "copyright": facts.authors,
        "data_source": facts.source,
        "data_type": "single slices: PNG or JPEG, 8 or 16 bits",
        "image_classes": f"grey slices; percentiles 0.5 and 99.5 become 0 and 1; brought to {size} x {size} pixels",
        "label_classes": named,
        "pred_classes": f"{count} probabilities in the order of the labels; there is no class for a healthy scan",
        "eval_metrics": eval_metrics(facts.metrics),
        **({"eval_metrics_of": OF_FOLDS} if facts.of_folds and facts.metrics else {}),
        "intended_use": INTENDED,
        "references": [DATA, METHOD] if facts.published else [METHOD],
        "temperature": {"value": student.temperature, "origin": facts.calibration},
        "training": training(facts),
        "forms": forms(gaps),
        "network_data_format": _format(size, student.classes),
    }


def needed(student: PackedNetwork) -> tuple[str, ...]:
    """What inference needs beside MONAI, torch and NumPy: this package too, where the network is one of its own."""
    return (*NEEDED, "kdmri-monai") if needs_package(student.definition) else NEEDED


def eval_metrics(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    """Estimates and bounds of the 95 % intervals over patient families, by slice and by patient, to four digits."""
    found = {}
    for kind in ("slices", "patients"):
        for name in MEASURES:
            value = (metrics or {}).get(kind, {}).get(name)
            parts = value if isinstance(value, Mapping) else {"value": value}
            for part, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
                number = parts.get(part)
                if isinstance(number, (int, float)) and number == number:
                    found[f"{kind}_{name}{suffix}"] = round(float(number), 4)
    return found


def forms(gaps: Mapping[str, float]) -> dict[str, Any]:
    """What was compared before the bundle was written."""
    return {
        "largest_difference_of_a_probability": {name: float(f"{gap:.1e}") for name, gap in gaps.items()},
        "tolerance": TOLERANCE,
        "batch_sizes": list(BATCHES),
        **({"onnx_opset": OPSET} if ONNX in gaps else {}),
    }


def training(facts: PackedFacts) -> dict[str, Any]:
    """What decided the weights; enough to tell whether two laboratories trained on the same split."""
    kept = ("seed", "max_epochs", "batch_size", "learning_rate", "weight_decay", "image_size", "ema_momentum")
    return {
        "datalist_sha256": facts.data.get("sha256"),
        "slices": dict(facts.data.get("slices") or {}),
        "families": len(facts.data.get("training_families") or ()),
        "fold": facts.data.get("fold"),
        "group_rule": facts.data.get("group_rule"),
        "git_revision": facts.revision,
        "taught": bool(facts.settings.get("teacher_ckpt")),
        "pretrained": json.loads(without_folders(json.dumps(facts.settings.get("pretrained")))),
        "settings": {name: facts.settings[name] for name in kept if name in facts.settings},
    }


def _format(size: int, classes: Sequence[str]) -> dict[str, Any]:
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": "MR",
        "num_channels": 1,
        "spatial_shape": [size, size],
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": {"0": "contrast-enhanced T1"},
    }
    pred = {
        "type": "probabilities",
        "format": "classes",
        "num_channels": len(classes),
        "spatial_shape": [1, len(classes)],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {str(number): name for number, name in enumerate(classes)},
    }
    return {
        "inputs": {"image": image},
        "outputs": {"pred": pred},
        "post_processed_outputs": {"pred": {**pred, "value_range": [0, 1]}},
    }
