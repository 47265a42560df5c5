"""How much a file may ask for before it is refused."""

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class ReadLimits:
    """Bounds on what one file of a source may declare or deliver.

    The published slices are about 0.8 MiB uncompressed, 512 x 512 pixels; the defaults leave two orders of magnitude.

    Attributes:
        member_bytes: Largest file with one slice (archive member, ``.mat``, picture), bytes uncompressed.
        inner_archive_bytes: Largest archive inside an archive, bytes uncompressed.
        ratio: Largest uncompressed size for one compressed byte, for members over ``ratio_free_bytes``.
        ratio_free_bytes: Members up to this size may have any ratio: an empty mask deflates 1,000 to 1.
        members: Most members of one archive.
        side: Most rows or columns of an image.
        volume_bytes: Largest NIfTI volume in memory, bytes of the voxels as stored.
    """

    member_bytes: int = 64 * MIB
    inner_archive_bytes: int = 8 * 1024 * MIB
    ratio: int = 200
    ratio_free_bytes: int = MIB
    members: int = 200_000
    side: int = 8192
    volume_bytes: int = 512 * MIB

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"ReadLimits.{name} must be at least 1, got {value}")
