"""One PNG a picture: the tumour that a geometry head predicts, or where any other student looks."""

import re
from pathlib import Path

import torch
from torch import nn

from kdmri_monai.evaluation.heat_methods import HeatMethod, heat_methods
from kdmri_monai.evaluation.prediction_pictures import PicturePrediction, unlabelled
from kdmri_monai.networks.resampling import match_size
from kdmri_monai.report.axes import save
from kdmri_monai.report.overlays import draw_geometry
from kdmri_monai.report.scan_overlays import WORDS, heat_figure


class PictureOverlays:
    """Draws pictures one by one into a folder, numbered from 1: ``0001_scan.png``, ``0002_scan.mat.png``.

    Args:
        network: The student, on the device that the images go to.
        folder: Made where it is missing.
        device: Where the network is.
    """

    def __init__(self, network: nn.Module, folder: Path, device: torch.device) -> None:
        self.network, self.folder, self.device = network, folder, device
        self.drawn = 0
        self._method: HeatMethod | None = None

    def draw(self, one: PicturePrediction, words: str) -> Path:
        """Draws one picture: the predicted tumour where there is one, else heat of the most probable class.

        Args:
            one: With the image that the network was given, or with a map.
            words: What is said of it; stands above, below the name.

        Returns:
            The file.

        Raises:
            ValueError: The network offers no way to see where it looks, or the image was not kept.
            OSError: The file cannot be written.
        """
        self.drawn += 1
        name = Path(one.picture.name).name
        plain_name = re.sub(r"[^\w.-]+", "_", name)
        path = self.folder / f"{self.drawn:04d}_{plain_name.removesuffix('.png')}.png"
        title = f"{name}\n{words.replace('; ', chr(10))}"
        if one.geometry is not None:
            return draw_geometry(one.picture.pixels, one.geometry, title, path)
        return self._draw_heat(one, title, path)

    def _draw_heat(self, one: PicturePrediction, title: str, path: Path) -> Path:
        if one.image is None:
            raise ValueError(f"{one.picture.name}: the image that the network was given was not kept")
        images, chosen = one.image[None].to(self.device), torch.tensor([one.label], device=self.device)
        method = self._heat_method(tuple(one.image.shape))
        heat = method.heat(self.network, unlabelled(images), chosen).float()
        shown = match_size(heat, one.picture.pixels.shape)[0, 0].detach().cpu().numpy()
        figure = heat_figure(one.picture.pixels, shown, title, WORDS[method.name])
        return save(figure, path.with_suffix(""), ("png",))[0]

    def _heat_method(self, image_shape: tuple[int, ...]) -> HeatMethod:
        if self._method is None:
            methods, reason = heat_methods(self.network, image_shape)
            if not methods:
                raise ValueError(f"--overlay: where {type(self.network).__name__} looks cannot be seen: {reason}")
            self._method = methods[0]
        return self._method
