"""A network in every form that others read: state dict, safetensors, TorchScript, ONNX, exported program.

Every form is made of the same weights and takes a free batch size. The same network gives the same bytes: times, source
paths and stack traces of the machine are left out.
"""

import io
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor, nn

from kdmri_monai.sharing.canonical_zip import canonical_zip

STATE, SAFETENSORS, SCRIPT, ONNX, PROGRAM = "model.pt", "model.safetensors", "model.ts", "model.onnx", "model.pt2"
FORMS = (STATE, SAFETENSORS, SCRIPT, ONNX, PROGRAM)
INPUT, OUTPUT = "image", "pred"
"""Names of the ONNX model's input and output, those of the metadata."""

HASH_SEED = "PYTHONHASHSEED"
OPSET = 20
BATCH = 2
"""Images of the batch that is traced; 0 and 1 would be taken for constants."""


class ExportError(RuntimeError):
    """A network that cannot be written in one of the forms."""


def export_forms(
    network: nn.Module,
    image_shape: Sequence[int],
    wanted: Sequence[str] = FORMS,
) -> dict[str, bytes]:
    """A network in every form that is wanted.

    Args:
        network: Takes images ``(B, C, *spatial)``, gives logits ``(B, K)``; on the CPU, in eval mode.
        image_shape: Channels and spatial size of one image.
        wanted: Some of ``FORMS``.

    Returns:
        Content by file name.

    Raises:
        ExportError: A form that the network cannot be written in; the message names it and the cause.
    """
    image = torch.zeros(BATCH, *image_shape)
    state = {name: value.detach().clone().contiguous() for name, value in network.state_dict().items()}
    writers: dict[str, Callable[[], bytes]] = {
        STATE: lambda: state_bytes(state),
        SAFETENSORS: lambda: _safetensors(state),
        SCRIPT: lambda: _script(network, image),
        ONNX: lambda: _onnx(network, image),
        PROGRAM: lambda: _program(network, image),
    }
    forms = {}
    for name in wanted:
        with _quiet():
            try:
                forms[name] = writers[name]()
            except (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError) as error:
                words = str(error).strip().splitlines() or [type(error).__name__]
                raise ExportError(f"{type(network).__name__} cannot be written as {name}: {words[0]}") from error
    return forms


def state_bytes(state: Mapping[str, Tensor]) -> bytes:
    """What ``torch.save`` writes of a state dict, to be read with ``weights_only=True``."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return canonical_zip(buffer.getvalue())


def _safetensors(state: Mapping[str, Tensor]) -> bytes:
    from safetensors.torch import save

    content: bytes = save(dict(state), {"format": "pt"})
    return content


def with_texts(script: bytes, texts: Mapping[str, bytes]) -> bytes:
    """A TorchScript file that carries texts in ``extra/``, as MONAI's ``ckpt_export`` writes them.

    Args:
        script: ``model.ts`` of ``export_forms``.
        texts: Content by name, such as ``metadata.json``.
    """
    return canonical_zip(script, more={f"{Path(SCRIPT).stem}/extra/{name}": text for name, text in texts.items()})


def _script(network: nn.Module, image: Tensor) -> bytes:
    """TorchScript, made in a process of its own.

    Names of types count what a process has compiled and traced before, constants stand in the order of a set.
    """
    with _fixed_hashes(), ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        content = alone.submit(_scripted, network, image).result()
    return canonical_zip(content, without=lambda name: name.endswith(".debug_pkl"))


def _scripted(network: nn.Module, image: Tensor) -> bytes:
    """Compiled, or traced where it cannot be compiled, as MONAI's Swin transformer."""
    with _quiet(), torch.no_grad():
        try:
            module = torch.jit.script(network)
        except (RuntimeError, torch.jit.frontend.NotSupportedError, TypeError):
            module = torch.jit.trace(network, image, check_trace=False)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / SCRIPT  # the archive's folder is named after the file, and MONAI looks for that name
            torch.jit.save(module, path)
            return path.read_bytes()


def _onnx(network: nn.Module, image: Tensor) -> bytes:
    try:
        import onnx
        import onnxscript  # noqa: F401  # what torch.onnx exports by
    except ImportError as error:
        raise ExportError("ONNX wants more packages: pip install 'kdmri-monai[sharing]'") from error
    batch = torch.export.Dim("batch", min=1)
    program = torch.onnx.export(
        network,
        (image,),
        dynamo=True,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=({0: batch},),
        opset_version=OPSET,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    _without_traces(model)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _without_traces(model: "onnx.ModelProto") -> None:  # type: ignore[name-defined]  # noqa: F821
    """Drop where in the source every node came from."""
    for graph in (model.graph, *model.functions):
        del graph.metadata_props[:]
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
        for value in graph.value_info:
            del value.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]


def _program(network: nn.Module, image: Tensor) -> bytes:
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(network, (image,), dynamic_shapes=({0: batch},), strict=False)
    for module in program.graph_module.modules():
        for node in getattr(module, "graph", torch.fx.Graph()).nodes:
            for key in ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node"):
                node.meta.pop(key, None)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return canonical_zip(buffer.getvalue())


@contextmanager
def _fixed_hashes() -> Iterator[None]:
    """Processes that are started meanwhile give texts the same hashes every time."""
    before = os.environ.get(HASH_SEED)
    os.environ[HASH_SEED] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[HASH_SEED]
        else:
            os.environ[HASH_SEED] = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch says of TorchScript's age and of parts of ONNX that nobody asked for."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
