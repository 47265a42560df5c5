"""The application that the commands join, and how their errors reach the user."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

app = typer.Typer(
    name="kdmri",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Knowledge distillation across architectures for brain-tumour MRI. "
    "Training and evaluation run through the bundle: python -m monai.bundle run training ...",
)
console = Console()

CODEC = "monai.data.nvimgcodec_pydicom_plugin"
"""Where MONAI says at every reader that a decoder for DICOM, which nothing here uses, is missing."""


@contextmanager
def told_to_the_user() -> Iterator[None]:
    """Errors that the input or the disk is to blame for end in one line, exit status 1; others in a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger(CODEC).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*NvImgCodecPydicomReader.*")
    try:
        yield
    except (ValueError, OSError) as error:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        typer.secho("interrupted; the same command goes on where it stopped", fg=typer.colors.YELLOW, err=True)
        raise typer.Exit(130) from error
