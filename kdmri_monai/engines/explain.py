"""The reason of a failed bundle run as the last line that the user reads."""

import sys
from types import TracebackType

WRAPPED = ("Failed to instantiate", "Failed to evaluate")
"""How the messages of ``monai.bundle`` begin that only say where something went wrong."""


def explain_failures() -> None:
    """Have Python end the report of an uncaught error with the error that caused it.

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
    """The error behind those in which MONAI's parser wraps whatever a component or an expression raises.

    An error of ours that was raised from another one counts itself: it says more than the one it came from.
    """
    while isinstance(error, RuntimeError) and str(error).startswith(WRAPPED) and error.__cause__ is not None:
        error = error.__cause__
    return error
