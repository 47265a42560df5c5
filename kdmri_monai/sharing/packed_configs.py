"""``inference.json`` and ``evaluate.json`` of a packed bundle: targets of MONAI, torch and Ignite, no Python inside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdmri_monai.sharing.packed_preprocessing import preprocessing_steps

IMPORTS = ["$import glob", "$import os", "$import torch", "$import monai"]


@dataclass(frozen=True)
class PackedNetwork:
    """What the configurations say of the student.

    Attributes:
        definition: ``_target_`` and arguments.
        image_size: Rows and columns of an image, pixels.
        store_size: Side that pictures are brought to first, pixels.
        temperature: By what logits are divided before softmax.
        classes: Names of the K classes.
    """

    definition: Mapping[str, Any]
    image_size: int
    store_size: int
    temperature: float
    classes: Sequence[str]


def inference_config(student: PackedNetwork) -> dict[str, Any]:
    """Pictures in a folder to ``predictions.csv``: path, one probability a class."""
    return {
        "imports": IMPORTS,
        "bundle_root": ".",
        "dataset_dir": "$os.path.join(@bundle_root, 'smoke')",
        "output_dir": "$os.path.join(@bundle_root, 'eval')",
        "pattern": "*.[pPjJ][nNpP]*[gG]",
        "device": "$'cuda' if torch.cuda.is_available() else 'cpu'",
        "batch_size": 8,
        "num_workers": 0,
        "image_size": student.image_size,
        "temperature": student.temperature,
        "classes": list(student.classes),
        "checkpoint": "$os.path.join(@bundle_root, 'models', 'model.pt')",
        "network_def": dict(student.definition),
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": preprocessing_steps(student.store_size)},
        "files": "$sorted(glob.glob(os.path.join(@dataset_dir, '**', @pattern), recursive=True))",
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': file} for file in @files]",
            "transform": "@preprocessing",
        },
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": "@batch_size",
            "shuffle": False,
            "num_workers": "@num_workers",
        },
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {"_target_": "Compose", "transforms": postprocessing_steps()},
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "@checkpoint",
                "load_dict": {"model": "@network"},
                "map_location": "$torch.device(@device)",
                "strict": True,
            },
            {
                "_target_": "ClassificationSaver",
                "output_dir": "@output_dir",
                "filename": "predictions.csv",
                "batch_transform": "$lambda batch: batch['image'].meta",
                "output_transform": "$lambda output: output['pred']",
            },
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "$torch.device(@device)",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
            "decollate": False,
        },
        "initialize": ["$monai.utils.set_determinism(seed=0)"],
        "run": ["$@evaluator.run()"],
        "finalize": [],
        "inference": "%run",
    }


def postprocessing_steps() -> list[dict[str, Any]]:
    """From logits to calibrated probabilities; right for a batch and for a single image."""
    divide = {"_target_": "ScaleIntensityd", "keys": "pred", "minv": None, "maxv": None}
    return [
        {**divide, "factor": "$1 / @temperature - 1"},  # x (1 + factor)
        {"_target_": "Activationsd", "keys": "pred", "softmax": True, "dim": -1},
    ]


def evaluation_config(classes: Sequence[str]) -> dict[str, Any]:
    """Laid over ``inference.json``: a list of pictures with labels to ``metrics.csv`` and ``predictions.csv``.

    Metrics are computed over all slices, from classes and probabilities as they are: Ignite's accuracy of one-hot
    predictions, and MONAI's handler of confusion matrices, count decisions one class against the rest.
    """
    pair = "$monai.handlers.from_engine(['pred', 'label'])"
    metric = {"output_transform": pair, "device": "$torch.device(@device)"}
    one_hot = f"torch.nn.functional.one_hot(output['label'], {len(classes)})"
    names = [name.replace(" ", "_") for name in classes]
    counts = {
        f"{true}_called_{told}": f"$@counts[{row}, {column}]"
        for row, true in enumerate(names)
        for column, told in enumerate(names)
    }
    return {
        "datalist": "$os.path.join(@dataset_dir, 'datalist.json')",
        "split": "test",
        "dataset#data": {
            "_target_": "monai.data.load_decathlon_datalist",
            "data_list_file_path": "@datalist",
            "is_segmentation": False,
            "data_list_key": "@split",
            "base_dir": "@dataset_dir",
        },
        "key_metric": {"balanced_accuracy": {"_target_": "ignite.metrics.Recall", "average": "macro", **metric}},
        "evaluator#key_val_metric": "@key_metric",
        "recalls": {"_target_": "ignite.metrics.Recall", **metric},
        "counts": {"_target_": "ignite.metrics.ConfusionMatrix", "num_classes": len(classes), **metric},
        "evaluator#additional_metrics": {
            "accuracy": {"_target_": "ignite.metrics.Accuracy", **metric},
            "macro_auroc": {
                "_target_": "ROCAUC",
                "average": "macro",
                "output_transform": f"$lambda output: (output['pred'], {one_hot})",
            },
            **{f"recall_{name}": f"$@recalls[{label}]" for label, name in enumerate(names)},
            **counts,
        },
        "+handlers": [{"_target_": "MetricsSaver", "save_dir": "@output_dir", "metrics": "*", "metric_details": None}],
        "evaluating": "%run",
    }
