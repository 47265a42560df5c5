"""``metadata.json`` against MONAI's specification and against the bundle it came with.

Source: MONAI 1.6.1, ``docs/source/mb_specification.rst``.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kdmri_monai.sharing.audit_findings import OK, REMARK, WARNING, AuditFinding

GROUP = "metadata"
METADATA = "configs/metadata.json"
REQUIRED = (
    *("version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version", "task"),
    *("description", "authors", "copyright", "network_data_format"),
)
OLD_NAMES = {"required_packages_version": "optional_packages_version"}
TENSOR = ("type", "format", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data", "channel_def")
_VERSION = re.compile(r"\d+(\.\d+)*([a-z+.-].*)?\Z")
_OUTPUTS = ("num_classes", "out_channels")
_JOINED = re.compile(r"@bundle_root\s*\+\s*'/?([\w./-]+\.\w+)'|os\.path\.join\(@bundle_root((?:,\s*'[\w.-]+')+)\)")


def metadata_findings(contents: Mapping[str, Any], files: Mapping[str, Any]) -> Iterator[AuditFinding]:
    """What is missing from the metadata, or contradicts the rest of the bundle.

    Args:
        contents: Parsed configurations, by path.
        files: All files of the bundle, by path.

    Yields:
        Warnings and remarks; metadata never make a bundle unsafe.
    """
    metadata = contents.get(METADATA)
    found: list[AuditFinding] = []
    if not isinstance(metadata, dict):
        found.append(_warning("no configs/metadata.json that can be read"))
    else:
        found += [*_fields(metadata), *_tensors(metadata), *_classes(metadata, contents.get("configs/inference.json"))]
    found += _documents(files)
    found += _missing_files(contents, files)
    yield from found
    if not found:
        yield AuditFinding(OK, GROUP, METADATA, reason="complete, and agrees with the configuration")


def _fields(metadata: Mapping[str, Any]) -> Iterator[AuditFinding]:
    for name in REQUIRED:
        if name not in metadata and OLD_NAMES.get(name) not in metadata:
            yield _warning(f"has no {name}, which MONAI's specification requires")
    for name in ("version", "monai_version", "pytorch_version", "numpy_version"):
        value = metadata.get(name, "0")
        if not isinstance(value, str) or not _VERSION.match(value):
            yield _warning(f"{name} is {value!r}, not a version", name)
    if not metadata.get("eval_metrics"):
        yield AuditFinding(REMARK, GROUP, METADATA, "eval_metrics", reason="states no figures of its evaluation")
    changes = metadata.get("changelog")
    if isinstance(changes, dict) and metadata.get("version") not in changes:
        yield AuditFinding(REMARK, GROUP, METADATA, "changelog", reason="does not mention the version")


def _tensors(metadata: Mapping[str, Any]) -> Iterator[AuditFinding]:
    formats = metadata.get("network_data_format")
    for side in ("inputs", "outputs"):
        tensors = formats.get(side) if isinstance(formats, dict) else None
        if not isinstance(tensors, dict) or not tensors:
            yield _warning(f"network_data_format names no {side}", "network_data_format")
            continue
        for name, tensor in tensors.items():
            place = f"network_data_format::{side}::{name}"
            missing = [key for key in TENSOR if not isinstance(tensor, dict) or key not in tensor]
            if missing:
                yield _warning(f"lacks {', '.join(missing)}", place)
            elif isinstance(tensor["channel_def"], dict) and tensor["num_channels"] != len(tensor["channel_def"]):
                count = len(tensor["channel_def"])
                yield _warning(f"has {tensor['num_channels']} channels, and {count} of them defined", place)


def _classes(metadata: Mapping[str, Any], inference: Any) -> Iterator[AuditFinding]:
    """Channels of the output against the network of ``inference.json`` and its list of classes, where literal."""
    outputs = (metadata.get("network_data_format") or {}).get("outputs") if isinstance(metadata, dict) else None
    output = next(iter(outputs.values()), None) if isinstance(outputs, dict) else None
    if not isinstance(output, dict) or not isinstance(inference, dict):
        return
    channels, place = output.get("num_channels"), "network_data_format::outputs"
    network = inference.get("network_def")
    for key in _OUTPUTS:
        stated = network.get(key) if isinstance(network, dict) else None
        if isinstance(stated, int) and stated != channels:
            yield _warning(f"has {channels} output channels, network_def {stated} ({key})", place)
    classes, named = inference.get("classes"), output.get("channel_def")
    if isinstance(classes, list) and isinstance(named, dict) and list(named.values()) != classes:
        yield _warning(f"names the classes {list(named.values())}, inference.json {classes}", place)


def _documents(files: Mapping[str, Any]) -> Iterator[AuditFinding]:
    if "docs/README.md" not in files:
        yield AuditFinding(REMARK, GROUP, reason="no docs/README.md")
    if "models/model.pt" not in files:
        yield AuditFinding(REMARK, GROUP, reason="no models/model.pt, which MONAI's specification requires")


def _missing_files(contents: Mapping[str, Any], files: Mapping[str, Any]) -> Iterator[AuditFinding]:
    inference = {path: content for path, content in contents.items() if path.startswith("configs/inference")}
    for path, content in inference.items():
        for name in sorted(set(_named(content))):
            if name not in files:
                yield AuditFinding(WARNING, GROUP, path, reason=f"names {name}, which is not in the bundle")


def _named(content: Any) -> Iterator[str]:
    stack = [content]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            stack += node.values()
        elif isinstance(node, list):
            stack += node
        elif isinstance(node, str):
            for whole, parts in _JOINED.findall(node):
                name = whole or "/".join(re.findall(r"'([\w.-]+)'", parts))
                if name.startswith("models/"):
                    yield name


def _warning(reason: str, place: str = "") -> AuditFinding:
    return AuditFinding(WARNING, GROUP, METADATA, place, reason=reason)
