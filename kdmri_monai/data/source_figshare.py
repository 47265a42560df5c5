"""The Figshare set as it is published: four zip archives of ``cjdata`` files, or the outer zip around them."""

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from kdmri_monai.data.archive_window import ArchiveRef
from kdmri_monai.data.archives import BadArchiveError, open_archive, read_member
from kdmri_monai.data.cjdata import IMAGE, read_cjdata
from kdmri_monai.data.findings import Finding, Remark
from kdmri_monai.data.inner_archives import inner_archive
from kdmri_monai.data.limits import ReadLimits
from kdmri_monai.data.records import RawSlice
from kdmri_monai.data.source_contract import Listing, Source, files_below, natural_key

FOLDS = "cvind.mat"
"""The one ``.mat`` file of the published set that is not a slice."""


@dataclass(frozen=True)
class ArchiveMember:
    """One ``.mat`` file of an archive."""

    archive: ArchiveRef
    member: str
    limits: ReadLimits

    @property
    def name(self) -> str:
        """Archive and member."""
        return f"{self.archive.name}/{self.member}"

    @property
    def image_field(self) -> str:
        """As ``cjdata`` names it."""
        return IMAGE

    def slices(self) -> Iterator[RawSlice | Finding]:
        """The one slice; its id is the name of the file without folder and ending."""
        archive = _opened(self.archive, self.limits)
        data = read_member(archive, archive.getinfo(self.member), self.name, self.limits)
        yield read_cjdata(data, self.name, PurePosixPath(self.member).stem, self.limits)


def recognise_archives(path: Path, limits: ReadLimits) -> Source | None:
    """A zip file, or a folder with zip files at any depth, that hold ``.mat`` files or archives with them.

    Args:
        path: What the user named.
        limits: What archives may ask for.

    Returns:
        The source, or ``None`` where there is no zip file.
    """
    if path.is_dir():
        files, root = files_below(path, [".zip"]), path
    else:
        files, root = [path] if zipfile.is_zipfile(path) or path.suffix.lower() == ".zip" else [], path.parent
    if not files:
        return None
    listing = partial(_list_archives, tuple(files), root, limits)
    return Source("archives of cjdata files", path, tuple(files), listing, batch=16)


def is_slice_file(name: str) -> bool:
    """Whether a file name may be that of a slice: ``.mat``, but not the fold file or a resource fork."""
    parts = PurePosixPath(name).parts
    base = parts[-1].lower() if parts else ""
    return base.endswith(".mat") and base != FOLDS and not base.startswith("._") and "__MACOSX" not in parts


def _list_archives(files: tuple[Path, ...], root: Path, limits: ReadLimits, scratch: Path) -> Listing:
    items: list[ArchiveMember] = []
    skipped: list[Finding] = []
    remarks: list[Remark] = []
    outer: list[ArchiveRef] = []
    for file in files:
        ref = ArchiveRef.of(file, file.relative_to(root).as_posix())
        members = _members(ref, limits, skipped)
        items += [ArchiveMember(ref, info.filename, limits) for info in members if is_slice_file(info.filename)]
        if any(_is_archive(info) for info in members):
            outer.append(ref)
    if items and outer:
        remarks += [Remark(ref.name, "archive", "not opened: its parts lie beside it, unpacked") for ref in outer]
        outer = []
    for ref in outer:
        items += _inner_members(ref, scratch, limits, skipped)
    items.sort(key=lambda item: (natural_key(PurePosixPath(item.member).stem), natural_key(item.name)))
    return Listing(items, tuple(skipped), remarks=tuple(remarks))


def _inner_members(
    ref: ArchiveRef, scratch: Path, limits: ReadLimits, skipped: list[Finding]
) -> Iterator[ArchiveMember]:
    for info in filter(_is_archive, _members(ref, limits, skipped)):
        try:
            inner = inner_archive(ref, info, scratch, limits)
        except BadArchiveError as error:
            skipped.append(Finding(error.name, "archive", error.reason))
            continue
        members = _members(inner, limits, skipped)
        yield from (
            ArchiveMember(inner, member.filename, limits) for member in members if is_slice_file(member.filename)
        )
        for nested in filter(_is_archive, members):
            reason = "not opened: an archive in an archive in an archive"
            skipped.append(Finding(f"{inner.name}/{nested.filename}", "archive", reason))


def _members(ref: ArchiveRef, limits: ReadLimits, skipped: list[Finding]) -> list[zipfile.ZipInfo]:
    """The directory of an archive; empty, and a finding more, where it cannot be used."""
    try:
        with open_archive(ref, limits) as archive:
            return archive.infolist()
    except BadArchiveError as error:
        skipped.append(Finding(error.name, "archive", error.reason))
        return []


def _is_archive(info: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(info.filename)
    return path.suffix.lower() == ".zip" and not path.name.startswith("._") and "__MACOSX" not in path.parts


class _OpenArchive:
    """The archive that this process read from last, kept open: neighbouring items share it."""

    def __init__(self) -> None:
        self._ref: ArchiveRef | None = None
        self._stack = ExitStack()
        self._archive: zipfile.ZipFile | None = None

    def __call__(self, ref: ArchiveRef, limits: ReadLimits) -> zipfile.ZipFile:
        if self._archive is None or ref != self._ref:
            self.close()
            self._archive = self._stack.enter_context(open_archive(ref, limits))
            self._ref = ref
        return self._archive

    def close(self) -> None:
        """Let go of the file."""
        self._stack.close()
        self._archive = None


_opened = _OpenArchive()


def close_archive() -> None:
    """Close the archive that this process keeps open between items."""
    _opened.close()
