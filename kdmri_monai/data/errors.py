"""What can be wrong with the input, as the user reads it."""


class BadSliceError(ValueError):
    """One slice cannot be used; the others can.

    Args:
        name: Where the slice comes from, e.g. ``brainTumorDataPublic_1766.zip/12.mat``.
        field: The part that is wrong, e.g. ``cjdata/label``.
        reason: What was got and what is allowed, e.g. ``is 7, allowed are 1, 2, 3``.
    """

    def __init__(self, name: str, field: str, reason: str) -> None:
        super().__init__(f"{name}: {field} {reason}")
        self.name, self.field, self.reason = name, field, reason

    def __reduce__(self) -> tuple[type["BadSliceError"], tuple[str, str, str]]:
        """Errors cross process borders while archives are read in parallel."""
        return type(self), (self.name, self.field, self.reason)


class BadSourceError(ValueError):
    """The source as a whole cannot be read: nothing recognised, an unsafe archive, a broken table."""


class LeakageError(ValueError):
    """A patient, a family or an image stands in more than one split."""


class FetchError(RuntimeError):
    """A published file cannot be fetched: the server, its list of files, a checksum, or room for the file."""
