"""MONAI's usual way: cached samples, random transforms sample by sample in workers, collated, ``SupervisedTrainer``.

The transforms are those of MONAI's tutorials that come nearest to the bundle's augmentation. Networks, losses, batches
and optimiser are the same.
"""

from typing import Any

import monai.transforms as mt
import torch
from monai.bundle import ConfigParser
from monai.data import CacheDataset, DataLoader
from monai.engines import SupervisedTrainer
from step_by_hand import Pair
from torch import Tensor, nn

RANDOM = [
    mt.RandFlipd("image", prob=0.5, spatial_axis=1),
    mt.RandAffined(
        "image",
        prob=0.9,
        rotate_range=0.52,
        translate_range=(9, 9),
        scale_range=(0.2, 0.2),
        shear_range=(0.17, 0.17),
        padding_mode="zeros",
    ),
    mt.RandAdjustContrastd("image", prob=0.5, gamma=(0.7, 1.4)),
    mt.RandScaleIntensityd("image", factors=0.2, prob=0.5),
    mt.RandGaussianSmoothd("image", prob=0.2, sigma_x=(0.1, 1.0), sigma_y=(0.1, 1.0)),
    mt.RandGaussianNoised("image", prob=0.3, std=0.02),
]


class Taught(nn.Module):
    """Gives the loss in place of logits, since a stock trainer knows one network and one loss."""

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self.student = pair.student
        self._pair = [pair]  # neither the teacher nor the fusion is a part of the network
        self.label: Tensor | None = None

    def forward(self, image: Any) -> Tensor:
        assert self.label is not None
        return self._pair[0].loss(torch.as_tensor(image), self.label)


class UsualWay:
    """One epoch after the other by MONAI's own trainer."""

    def __init__(self, parser: ConfigParser, device: str, workers: int) -> None:
        steps = parser.get_parsed_content("train#preprocessing")
        data = CacheDataset(
            parser.get_parsed_content("train#dataset_data"),
            mt.Compose([*steps.transforms, *RANDOM]),
            progress=False,
        )
        settings = {"num_workers": workers, "persistent_workers": True} if workers else {}
        self.loader = DataLoader(data, batch_size=int(parser["batch_size"]), shuffle=True, **settings)
        self.pair = Pair(parser)
        self.network = Taught(self.pair)
        self.trainer = SupervisedTrainer(
            device=torch.device(device),
            max_epochs=1,
            train_data_loader=self.loader,
            network=self.network,
            optimizer=self.pair.optimizer,
            loss_function=lambda loss, _: loss,
            prepare_batch=self._prepare,
            decollate=False,
            amp=bool(parser.get_parsed_content("amp")),
        )

    def _prepare(self, batch: Any, device: Any, non_blocking: bool, **_: Any) -> tuple[Tensor, Tensor]:
        image, label = batch["image"].to(device), torch.as_tensor(batch["label"]).to(device)
        self.network.label = label
        return image, label

    def epoch(self) -> None:
        self.trainer.state.max_epochs = self.trainer.state.epoch + 1
        self.trainer.run()
