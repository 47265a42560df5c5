"""A small bundle of stock components, as another lab writes it, for the tests of the audit."""

import json
import shutil

import pytest

METADATA = {
    "version": "0.1.0",
    "changelog": {"0.1.0": "first"},
    "monai_version": "1.6.1",
    "pytorch_version": "2.13.0",
    "numpy_version": "2.4.6",
    "required_packages_version": {"pytorch-ignite": "0.5.5"},
    "task": "Brain tumour classification",
    "description": "Three tumours",
    "authors": "A lab",
    "copyright": "A lab",
    "eval_metrics": {"accuracy": 0.9},
    "network_data_format": {
        "inputs": {
            "image": {
                "type": "image", "format": "magnitude", "modality": "MR", "num_channels": 1,
                "spatial_shape": ["32 * n", "32 * n"], "dtype": "float32", "value_range": [0, 1],
                "is_patch_data": False, "channel_def": {"0": "T1"},
            }
        },
        "outputs": {
            "pred": {
                "type": "probabilities", "format": "classes", "num_channels": 2, "spatial_shape": [1, 2],
                "dtype": "float32", "value_range": [0, 1], "is_patch_data": False,
                "channel_def": {"0": "glioma", "1": "meningioma"},
            }
        },
    },
}  # fmt: skip
INFERENCE = {
    "imports": ["$import glob", "$import os"],
    "bundle_root": ".",
    "dataset_dir": "$@bundle_root + '/smoke'",
    "output_dir": "$os.path.join(@bundle_root, 'eval')",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "classes": ["glioma", "meningioma"],
    "network_def": {"_target_": "DenseNet121", "spatial_dims": 2, "in_channels": 1, "out_channels": 2},
    "network": "$@network_def.to(@device)",
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image", "reader": "PILReader"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "ScaleIntensityd", "keys": "image"},
        ],
    },
    "dataset": {
        "_target_": "Dataset",
        "data": "$[{'image': path} for path in sorted(glob.glob(@dataset_dir + '/*.png'))]",
        "transform": "@preprocessing",
    },
    "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
    "inferer": {"_target_": "SimpleInferer"},
    "postprocessing": {"_target_": "Activationsd", "keys": "pred", "softmax": True},
    "handlers": [
        {
            "_target_": "CheckpointLoader",
            "_disabled_": "$not os.path.exists(@bundle_root + '/models/model.pt')",
            "load_path": "$@bundle_root + '/models/model.pt'",
            "load_dict": {"model": "@network"},
        }
    ],
    "evaluator": {
        "_target_": "SupervisedEvaluator",
        "device": "@device",
        "val_data_loader": "@dataloader",
        "network": "@network",
        "inferer": "@inferer",
        "postprocessing": "@postprocessing",
        "val_handlers": "@handlers",
    },
    "initialize": ["$monai.utils.set_determinism(seed=0)", "$setattr(torch.backends.cudnn, 'benchmark', True)"],
    "run": ["$@evaluator.run()"],
    "inference": "%run",
}


@pytest.fixture(scope="session")
def _stock(tmp_path_factory):
    import torch

    root = tmp_path_factory.mktemp("stock") / "student"
    for folder in ("configs", "docs", "models"):
        (root / folder).mkdir(parents=True)
    (root / "LICENSE").write_text("Apache License\n  Version 2.0, January 2004\n")
    (root / "docs/README.md").write_text("# Student\n")
    (root / "docs/data_license.txt").write_text("Creative Commons Attribution 4.0 International\n")
    (root / "configs/metadata.json").write_text(json.dumps(METADATA))
    (root / "configs/inference.json").write_text(json.dumps(INFERENCE))
    torch.save({"weight": torch.ones(2, 3)}, root / "models/model.pt")
    return root


@pytest.fixture
def stock_bundle(_stock, tmp_path):
    """A fresh copy, to be spoiled."""
    return shutil.copytree(_stock, tmp_path / "student")


@pytest.fixture
def configure(stock_bundle):
    """Writes a configuration into the bundle: the one for inference with some items exchanged."""

    def write(changes, name="inference.json"):
        path = stock_bundle / "configs" / name
        path.write_text(json.dumps({**INFERENCE, **changes}))
        return stock_bundle

    return write
