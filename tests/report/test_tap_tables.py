import io

import numpy as np
import pytest
from rich.console import Console

from kdmri_monai.networks.tap_survey import TapRow
from kdmri_monai.report.tap_tables import cka_table, survey_table

ROWS = [
    TapRow("layer1", "Sequential", (64, 32, 32), "channel_first", (4.0, 4.0), 1234567),
    TapRow("odd", "Conv2d", (8, 15, 20), "channel_first", (32 / 15, 1.5), 8),
    TapRow("blocks.11", "TransformerBlock", (197, 384), "tokens", (16.0, 16.0), 99, 1),
    TapRow("swin.blocks", "SwinTransformerBlock", (8, 8, 96), "channel_last", (4.0, 4.0), 99),
    TapRow("fc", "Linear", (3,), "vector", None, 195),
    TapRow("backbone.layers1.0.blocks.0.attn.relative_position", "My[red]Class", (1, 1, 1), "channel_first", None, 0),
]
NAMES = ["backbone.patch_embed", "backbone.layers1.0", "backbone.layers2.0", "backbone.[red]"]


def rendered(table, width=80):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def line_of(text, word):
    return next(line for line in text.splitlines() if line.split()[:1] == [word]).split()


def test_the_survey_says_shape_layout_stride_and_parameters():
    text = rendered(survey_table(ROWS), width=120)
    assert " ".join(line_of(text, "layer1")) == "layer1 Sequential 64 x 32 x 32 maps 4 1,234,567"
    assert " ".join(line_of(text, "odd")) == "odd Conv2d 8 x 15 x 20 maps 2.13 x 1.5 8"
    assert " ".join(line_of(text, "blocks.11")) == "blocks.11 TransformerBlock 197 x 384 tokens +1 16 99"
    assert " ".join(line_of(text, "swin.blocks")) == "swin.blocks SwinTransformerBlock 8 x 8 x 96 channel_last 4 99"
    assert " ".join(line_of(text, "fc")) == "fc Linear 3 vector 195"
    assert "tokens +1: prefix_tokens=1" in " ".join(text.split())


def test_long_names_are_folded_and_never_cut_in_eighty_columns():
    text = rendered(survey_table(ROWS))
    assert max(map(len, text.splitlines())) <= 80
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    first_column = "".join(line[2:22].split(" ")[0] for line in text.splitlines())
    assert ROWS[-1].name in first_column
    assert "[red]" in text


def test_cka_is_a_matrix_with_the_pairs_marked():
    matrix = np.array([[0.9, 0.5, 0.1, np.nan], [0.8, 0.4, 0.75, -0.02]])
    text = rendered(cka_table(matrix, ["layer1", "layer[b]2"], NAMES, [(0, 0), (1, 2)]))
    assert line_of(text, "layer1") == ["layer1", "0.90*", "0.50", "0.10", "\N{EN DASH}"]
    assert line_of(text, "layer[b]2") == ["layer[b]2", "0.80", "0.40", "0.75*", "-0.02"]
    lines = [line.strip() for line in text.splitlines()]
    assert [f"{number} {name}" for number, name in enumerate(NAMES, start=1)] == lines[-7:-3]
    assert lines[-3:] == ["proposed pairs:", "* layer1, backbone.patch_embed", "* layer[b]2, backbone.layers2.0"]
    assert max(map(len, text.splitlines())) <= 80


def test_a_matrix_of_another_shape_is_told():
    with pytest.raises(ValueError, match="a matrix 2 x 3 for 2 student and 2 teacher taps"):
        cka_table(np.zeros((2, 3)), ["a", "b"], ["c", "d"], [])
