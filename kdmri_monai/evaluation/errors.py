"""What can be wrong with predictions and comparisons, as the user reads it."""

from pathlib import Path


class PredictionError(ValueError):
    """A predictions table that cannot be trusted.

    Args:
        reason: What was got and what is allowed.
        row: Row below the header, counted from 1; ``None`` where the table as a whole is wrong.
        column: Name of the column; ``None`` where no single one is wrong.
        path: File that the table was read from; ``None`` for one in memory.
    """

    def __init__(
        self, reason: str, row: int | None = None, column: str | None = None, path: Path | None = None
    ) -> None:
        self.reason, self.row, self.column, self.path = reason, row, column, path
        places = [str(path)] if path is not None else []
        places += [f"row {row}"] if row is not None else []
        places += [f"column {column}"] if column is not None else []
        super().__init__(": ".join([*places, reason]))

    def in_file(self, path: Path) -> "PredictionError":
        """The same fault with the name of the file."""
        return PredictionError(self.reason, self.row, self.column, path)


class ComparisonError(ValueError):
    """Runs, or tables of predictions, that cannot be compared with one another."""
