"""What one writes without a framework: resident tensors, hooks, two losses, one loop."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from monai.bundle import ConfigParser
from torch import Tensor, nn

from kdmri_monai.losses import hcl_loss, kd_loss
from kdmri_monai.networks.resampling import channel_norm, match_size

CLIP = 5.0


class Pair:
    """Copies of the bundle's student, teacher and fusion, with hooks at their taps and the bundle's losses."""

    def __init__(self, parser: ConfigParser) -> None:
        self.student: nn.Module = copy.deepcopy(parser.get_parsed_content("network"))
        self.teacher: nn.Module = copy.deepcopy(parser.get_parsed_content("teacher"))
        self.fusion: nn.Module = copy.deepcopy(parser.get_parsed_content("distiller").terms["hcl"].term.fusion)
        self.parameters = [*self.student.parameters(), *self.fusion.parameters()]
        self.optimizer = torch.optim.AdamW(
            self.parameters, parser["learning_rate"], weight_decay=parser["weight_decay"]
        )
        self.seen: dict[str, list[Tensor]] = {"student": [], "teacher": []}
        for kind, network in (("student", self.student), ("teacher", self.teacher)):
            for name in parser.get_parsed_content(f"{kind}_taps"):
                network.get_submodule(name).register_forward_hook(self._keep(self.seen[kind]))

    @staticmethod
    def _keep(features: list[Tensor]) -> Any:
        return lambda _module, _inputs, output: features.append(output)

    def loss(self, image: Tensor, label: Tensor) -> Tensor:
        self.seen["student"].clear()
        self.seen["teacher"].clear()
        with torch.no_grad():
            taught = self.teacher(image)
        logits = self.student(image)
        fused = self.fusion([one.float() for one in self.seen["student"]])
        taught_maps = [one.float() for one in self.seen["teacher"]]
        targets = [match_size(channel_norm(t), f.shape[2:]) for t, f in zip(taught_maps, fused, strict=True)]
        return F.cross_entropy(logits.float(), label) + kd_loss(logits, taught, 2.0) + hcl_loss(fused, targets)


class HandWritten:
    """The loop. ``amp`` follows the bundle."""

    def __init__(self, parser: ConfigParser, device: str) -> None:
        dataset = parser.get_parsed_content("train#dataset")
        items = [dataset[place] for place in range(len(dataset))]
        self.image = torch.stack([torch.as_tensor(item["image"]) for item in items]).to(device)
        self.label = torch.tensor([int(item["label"]) for item in items], device=device)
        self.batch_size, self.device = int(parser["batch_size"]), torch.device(device)
        self.amp = bool(parser.get_parsed_content("amp"))
        self.dtype = parser.get_parsed_content("amp_dtype")
        self.augment = parser.get_parsed_content("augmentation")
        self.pair = Pair(parser)

    def epoch(self) -> None:
        pair = self.pair
        pair.student.train()
        order = torch.randperm(len(self.image), device=self.device)
        for rows in order.split(self.batch_size):
            with torch.no_grad():
                image = self.augment(self.image[rows])
            with torch.autocast(self.device.type, self.dtype, enabled=self.amp):
                loss = pair.loss(image, self.label[rows])
            pair.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(pair.parameters, CLIP)
            pair.optimizer.step()
