"""A hospital in an NVFlare job: its data and its teacher stay at home, MONAI's MonaiAlgo trains, weights are exchanged.

NVFlare starts this script at every site and hands it the arguments of ``job.py``. It speaks NVFlare's Client API.
"""

import argparse
from pathlib import Path

import nvflare.client as flare
import torch
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems
from monai.fl.utils.exchange_object import ExchangeObject

from kdmri_monai.data.datalist import load_split


def open_client(given: argparse.Namespace) -> MonaiAlgo:
    """MONAI's federated client on the bundle of this site.

    Args:
        given: Arguments of the command line.
    """
    overlays = [*given.overlay, "configs/federated.json"]
    site = {
        "dataset_dir": given.dataset,
        "teacher_ckpt": given.teacher,
        "output_dir": given.out,
        "max_epochs": given.rounds * given.local_epochs,
        "progress": False,
    }
    algo = MonaiAlgo(
        given.bundle,
        local_epochs=given.local_epochs,
        send_weight_diff=True,
        config_train_filename=["configs/train.json", *overlays],
        train_kwargs=dict(site),
        config_evaluate_filename=["configs/train.json", *overlays[:-1], "configs/evaluate.json", overlays[-1]],
        eval_kwargs=dict(site),
        best_model_filepath=str(Path(given.out) / "model.pt"),
    )
    algo.initialize({ExtraItems.CLIENT_NAME: flare.get_site_name()})
    return algo


def answer(algo: MonaiAlgo, received: flare.FLModel, slices: int) -> flare.FLModel:
    """One round: evaluate what the server sent, train it on, and send the difference.

    Args:
        algo: The client.
        received: Global weights, arrays by name.
        slices: Training slices at this site: its weight in the mean.

    Returns:
        Weight differences, and the metrics of the weights that were received, by which the server keeps the best.
    """
    weights = ExchangeObject(weights={name: torch.as_tensor(value) for name, value in received.params.items()})
    metrics = algo.evaluate(weights).metrics
    algo.train(weights)
    return flare.FLModel(
        params_type=flare.ParamsType.DIFF,
        params=algo.get_weights().weights,
        metrics=metrics,
        meta={"NUM_STEPS_CURRENT_ROUND": slices},
    )


def main() -> None:
    """Take part until the server is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--bundle", "--dataset", "--teacher", "--out"):
        parser.add_argument(name, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--local-epochs", type=int, default=1)
    parser.add_argument("--overlay", action="append", default=[], help="configuration laid over train.json")
    given = parser.parse_args()
    flare.init()
    algo = open_client(given)
    slices = len(load_split(Path(given.dataset) / "datalist.json", "training"))
    while flare.is_running():
        received = flare.receive()
        if received is None:
            break
        flare.send(answer(algo, received, slices))
    algo.finalize()


if __name__ == "__main__":
    main()
