"""The verdict on a bundle from anyone, without running it.

A zip archive is checked and unpacked to a temporary folder, from there on every bundle is a folder. Nothing of it is
imported, unpickled or evaluated.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdmri_monai.sharing.audit_bundle_files import licence_findings, program_findings
from kdmri_monai.sharing.audit_config_files import JSON_BYTES, UnreadableConfigError, parse_config
from kdmri_monai.sharing.audit_findings import ARBITRARY, DANGER, LEVELS, REMARK, AuditFinding, printable
from kdmri_monai.sharing.audit_logging import SUFFIXES as LOGGING_SUFFIXES
from kdmri_monai.sharing.audit_logging import logging_audit
from kdmri_monai.sharing.audit_metadata import metadata_findings
from kdmri_monai.sharing.audit_provenance import manifest_findings, signature_findings
from kdmri_monai.sharing.config_audit import config_audit, is_config
from kdmri_monai.sharing.safe_archive import UnsafeArchiveError, bundle_root, folder_files, unpack
from kdmri_monai.sharing.weights_audit import weights_audit

FORMAT = "kdmri-audit-1"


@dataclass(frozen=True)
class AuditReport:
    """What an audit found.

    Attributes:
        bundle: Name of the archive or folder.
        findings: Worst first.
    """

    bundle: str
    findings: tuple[AuditFinding, ...]

    @property
    def safe(self) -> bool:
        """Whether nothing of level ``danger`` was found."""
        return not self.of(DANGER)

    def of(self, level: str) -> tuple[AuditFinding, ...]:
        """Findings of one of ``LEVELS``."""
        return tuple(finding for finding in self.findings if finding.level == level)

    @property
    def running(self) -> int:
        """Number of places at which the bundle can run code of its maker."""
        return sum(finding.verdict == ARBITRARY for finding in self.of(DANGER))

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``: format, bundle, safe, number of findings by level, and the findings."""
        return {
            "format": FORMAT,
            "bundle": self.bundle,
            "safe": self.safe,
            "counts": {level: len(self.of(level)) for level in LEVELS},
            "findings": [finding.as_dict() for finding in self.findings],
        }


def audit(path: Path, key: Path | None = None) -> AuditReport:
    """Judges a bundle without running anything of it.

    Args:
        path: Zip archive or unpacked folder.
        key: Public Ed25519 key of the maker; with it, a bundle that is not signed by its owner is not safe.

    Returns:
        The findings. An archive that must not be unpacked has those about the archive alone.

    Raises:
        ValueError: Neither a folder nor a zip archive, or a damaged one.
        OSError: It or the key cannot be read, or the temporary folder not written to.
    """
    try:
        if path.is_dir():
            return _report(path, _judged(bundle_root(path), key))
        with tempfile.TemporaryDirectory(prefix="kdmri-audit-") as folder:
            return _report(path, _judged(unpack(path, Path(folder) / "bundle"), key))
    except UnsafeArchiveError as error:
        findings = [AuditFinding(DANGER, "archive", verdict=ARBITRARY, reason=reason) for reason in error.reasons]
        return _report(path, findings)


def _report(path: Path, findings: list[AuditFinding]) -> AuditReport:
    worst_first = sorted(map(printable, findings), key=lambda finding: LEVELS.index(finding.level))
    return AuditReport(path.name, tuple(worst_first))


def _judged(root: Path, key: Path | None) -> list[AuditFinding]:
    files = folder_files(root)
    findings = [*program_findings(files), *licence_findings(files)]
    findings += [*manifest_findings(files), *signature_findings(files, key)]
    configs = {name: _read(path) for name, path in files.items() if is_config(name)}
    for name, path in files.items():
        if name.lower().endswith(LOGGING_SUFFIXES):
            findings += logging_audit(name, _read(path))
        found, embedded = weights_audit(name, path)
        findings += found
        configs |= embedded
    if not any(name.startswith("configs/") for name in configs):
        findings.append(
            AuditFinding(REMARK, "configuration", reason="no configuration in configs/: not a MONAI bundle")
        )
    findings += config_audit(configs)
    findings += metadata_findings(dict(_parsed(configs)), files)
    return findings


def _parsed(configs: dict[str, bytes]) -> Iterator[tuple[str, Any]]:
    for name, data in configs.items():
        if name.startswith("configs/"):
            try:
                yield name, parse_config(name, data)[0]
            except (UnreadableConfigError, ModuleNotFoundError):
                continue  # told by the audit of configurations


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(JSON_BYTES + 1)
