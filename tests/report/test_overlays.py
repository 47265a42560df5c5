import matplotlib as mpl
import numpy as np
import pytest
import torch
from monai.transforms import Compose, EnsureChannelFirstd, EnsureTyped, Resized, ScaleIntensityRanged
from PIL import Image
from torch import nn

from kdmri_monai.data.pixels import store_image
from kdmri_monai.evaluation.prediction_pictures import Picture as StoredPicture
from kdmri_monai.evaluation.prediction_pictures import PicturePrediction, predict_pictures
from kdmri_monai.networks import GeometryClassifier
from kdmri_monai.networks.geometry_head import PredictedGeometry
from kdmri_monai.report.overlays import PREDICTED, TRUE, draw_geometry, geometry_figure, geometry_sheet
from kdmri_monai.report.picture_overlays import PictureOverlays

SIDE, CELL = 64, 4
ROWS, COLUMNS = slice(16, 32), slice(36, 60)  # upper right, wider than high
CENTRE = 23.5, 47.5


def blob():
    mask = np.zeros((SIDE, SIDE), bool)
    mask[ROWS, COLUMNS] = True
    return mask


def grey(mask):
    return np.where(mask, 230, 60).astype(np.uint8)


def geometry_of(mask, cell=CELL, top=1.0):
    cells = mask[cell // 2 :: cell, cell // 2 :: cell] * top
    maps = torch.tensor(cells, dtype=torch.float32)[None, None]
    return PredictedGeometry(maps, maps, maps.expand(1, 5, -1, -1))


def panel(figure, path, place):
    """Pixels of one panel of a drawn picture, red, green and blue."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    box = figure.axes[place].get_window_extent()
    height = len(pixels)
    return pixels[round(height - box.y1) : round(height - box.y0), round(box.x0) : round(box.x1)]


def centre_in_image(where, side=SIDE):
    """Mean row and column of marked pixels of a panel, in pixels of the image that fills it."""
    places = np.argwhere(where) + 0.5
    return tuple(places.mean(axis=0) / where.shape * side - 0.5)


def orange(pixels):
    return pixels[..., 0] - pixels[..., 2] > 60


def drawn(tmp_path, *arguments):
    figure = geometry_figure(*arguments)
    draw_geometry(*arguments[:3], tmp_path / "one.png", *arguments[3:])
    figure.savefig(tmp_path / "layout.png")  # lays out the axes as in the file
    return figure, tmp_path / "one.png"


def lines(axes):
    """Colour and bounding box, in pixels of the image, of the contours of a panel."""
    contours = [item for item in axes.collections if isinstance(item, mpl.contour.ContourSet)]
    return {mpl.colors.to_hex(c.get_edgecolor()[0]).upper(): c.get_paths()[0].get_extents().extents for c in contours}


def test_the_colour_lies_where_the_blob_lies(tmp_path):
    figure, path = drawn(tmp_path, grey(blob()), geometry_of(blob()), "glioma")
    bright = panel(figure, path, 0).mean(axis=-1) > 150
    assert centre_in_image(bright) == pytest.approx(CENTRE, abs=0.5)
    assert centre_in_image(orange(panel(figure, path, 1))) == pytest.approx(CENTRE, abs=0.5)


def test_the_slice_is_beside_it_without_colour(tmp_path):
    figure, path = drawn(tmp_path, grey(blob()), geometry_of(blob()), "glioma", blob())
    pixels = panel(figure, path, 0)
    assert np.ptp(pixels, axis=-1).max() == 0


def test_predicted_and_true_border_enclose_the_blob():
    figure = geometry_figure(grey(blob()), geometry_of(blob()), "glioma", blob())
    found = lines(figure.axes[1])
    edges = [35.5, 15.5, 59.5, 31.5]  # left, top, right, bottom: between pixels
    assert found[TRUE] == pytest.approx(edges, abs=0.51)
    assert found[PREDICTED] == pytest.approx(edges, abs=0.51)
    assert lines(figure.axes[0]) == {}


def test_a_map_below_a_half_has_colour_and_no_border():
    figure = geometry_figure(grey(blob()), geometry_of(blob(), top=0.4), "glioma")
    assert lines(figure.axes[1]) == {}
    assert len(figure.axes[1].images) == 2


def test_the_true_border_is_in_the_legend_only_where_there_is_one():
    def told(mask):
        figure = geometry_figure(grey(blob()), geometry_of(blob()), "glioma", mask)
        return [text.get_text() for text in figure.legends[0].get_texts()]

    assert told(None) == ["predicted border, probability 0.5"]
    assert told(blob()) == ["predicted border, probability 0.5", "true border"]


def test_a_sheet_has_a_panel_for_every_slice(tmp_path):
    turned = [np.rot90(blob(), turns).copy() for turns in range(5)]
    images, maps = [grey(mask) for mask in turned], [geometry_of(mask) for mask in turned]
    masks = [*turned[:4], None]
    path = geometry_sheet(images, maps, list("abcde"), tmp_path / "sheet.png", masks, columns=3)
    with Image.open(path) as picture:
        assert picture.width > picture.height
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    sky = (pixels[..., 2] - pixels[..., 0] > 60).any(axis=1)
    assert sky.any()
    assert geometry_sheet(images[:1], maps[:1], ["a"], tmp_path / "single.png").is_file()


def test_equal_slices_give_equal_bytes(tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        assert draw_geometry(grey(blob()), geometry_of(blob()), "glioma", path) == path
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.fixture(scope="module")
def network():
    """A student whose head has learned to find the bright blob; only its map matters here."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.AvgPool2d(CELL), nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
    student = GeometryClassifier(backbone, ["2"], 3, (1, SIDE, SIDE), head={"width": 8, "fusion": "concat"})
    optimizer = torch.optim.Adam(student.parameters(), lr=0.03)
    draws = np.random.default_rng(0)
    for _ in range(60):
        masks = torch.zeros(16, 1, SIDE, SIDE)
        for mask in masks:
            row, column = draws.integers(0, SIDE - 20, 2)
            mask[0, row : row + 12, column : column + 20] = 1
        images = 0.2 + 0.7 * masks + 0.05 * torch.randn(masks.shape, generator=torch.Generator().manual_seed(1))
        seen = []
        handle = student.head.maps.register_forward_hook(lambda _module, _given, maps, seen=seen: seen.append(maps))
        student(images)
        handle.remove()
        wanted = nn.functional.avg_pool2d(masks, CELL)
        loss = nn.functional.binary_cross_entropy_with_logits(seen[0][:, :1], wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return student


def test_what_a_network_sees_in_an_oblong_picture_is_drawn_where_it_is(network, tmp_path):
    oblong = grey(blob())[8:48]  # 40 rows, which the store pads to 64 by 12 above and below
    steps = Compose(
        [
            EnsureChannelFirstd("image", channel_dim="no_channel"),
            Resized("image", spatial_size=(SIDE, SIDE), mode="area"),
            ScaleIntensityRanged("image", a_min=0, a_max=255, b_min=0.2, b_max=0.9),
            EnsureTyped("image"),
        ]
    )
    stored = StoredPicture("scan.png", store_image(oblong, 2 * SIDE, "scan.png", "pixels"), oblong)
    [one] = predict_pictures(network, iter([stored]), steps, torch.device("cpu"))
    assert stored.pixels.shape == (2 * SIDE, 2 * SIDE)
    figure, path = drawn(tmp_path, stored.pixels, one.geometry, "glioma")
    row, column = CENTRE[0] - 8 + 12, CENTRE[1]
    found = centre_in_image(orange(panel(figure, path, 1)))
    assert found == pytest.approx((row, column), abs=1.5)
    share = 100 * blob().mean()
    assert one.tumour_percent == pytest.approx(share, rel=0.35)


def test_pictures_are_named_by_place_and_name_and_get_the_words(tmp_path):
    probabilities = np.array([0.1, 0.7, 0.2])
    names = ["a/scan.png", "b/scan.png", "D/images.npy#3"]
    several = [PicturePrediction(StoredPicture(n, grey(blob())), probabilities, geometry_of(blob())) for n in names]
    overlays = PictureOverlays(nn.Identity(), tmp_path / "out", torch.device("cpu"))
    paths = [overlays.draw(one, one.words) for one in several]
    assert [path.name for path in paths] == ["0001_scan.png", "0002_scan.png", "0003_images.npy_3.png"]
    assert all(path.is_file() for path in paths)
    # bilinear between cells, the four corner pixels of the blob have 0.625 squared: 16 x 24 - 4 of 4096 pixels
    assert several[0].words == "glioma, probability 0.700; predicted tumour 9.3 % of the image"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"image": np.zeros((2, 4, 4))}, "rows and columns"),
        ({"mask": np.zeros((4, 4), bool)}, r"the mask is \(4, 4\)"),
        ({"path": "one.jpg"}, "is to be a .png"),
        ({"geometry": PredictedGeometry(*[torch.zeros(2, 1, 4, 4)] * 3)}, "maps of one image"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, arguments, told):
    given = {"image": grey(blob()), "geometry": geometry_of(blob()), "title": "", "path": "one.png", **arguments}
    given["path"] = tmp_path / given["path"]
    with pytest.raises(ValueError, match=told):
        draw_geometry(**given)
    assert list(tmp_path.iterdir()) == []


def test_a_sheet_wants_one_of_everything_and_a_prediction_a_map_or_an_image(tmp_path):
    with pytest.raises(ValueError, match="1 images, 2 maps"):
        geometry_sheet([grey(blob())], [geometry_of(blob())] * 2, ["a"], tmp_path / "sheet.png")
    without = PicturePrediction(StoredPicture("a.png", grey(blob())), np.array([0.1, 0.7, 0.2]), None)
    with pytest.raises(ValueError, match="was not kept"):
        PictureOverlays(nn.Identity(), tmp_path, torch.device("cpu")).draw(without, "glioma")
