"""The reason of a failed bundle run as the last line that the user reads."""

import sys
from types import TracebackType


def explain_failures() -> None:
    """Have Python end the report of an uncaught error with its first cause.

    MONAI's parser wraps what goes wrong inside a configuration in errors of its own, so that "there is no file
    teacher.pt" would stand in the middle of a long report. The report itself stays as it is.
    """
    if not getattr(sys.excepthook, "explains", False):
        sys.excepthook = _Explained(sys.excepthook)


class _Explained:
    explains = True

    def __init__(self, inner: object) -> None:
        self.inner = inner

    def __call__(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        assert callable(self.inner)
        self.inner(kind, error, trace)
        cause = first_cause(error)
        if cause is not error:
            sys.stderr.write(f"\nThe reason: {type(cause).__name__}: {cause}\n")


def first_cause(error: BaseException) -> BaseException:
    """The error at the start of a chain of ``raise ... from`` and of errors raised while handling others."""
    while (earlier := error.__cause__ or (None if error.__suppress_context__ else error.__context__)) is not None:
        error = earlier
    return error
