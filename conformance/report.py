"""The outcome of a run: a table of layers and checks, in units of the tolerance."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ntcore.conformance.checks import COLUMNS
from ntcore.conformance.measure import Measure
from ntcore.conformance.xfail import Xfail

NAME_WIDTH, WIDTH = 16, 9


@dataclass(frozen=True)
class Cell:
    """What one check found about one layer.

    Attributes
    ----------
    worst : Measure or None
        The largest disagreement; None where there was nothing to measure.
    subject : str
        Where it was found.
    count : int
        How many things were measured.
    expected : Xfail or None
        The known failure of a library, if there is one.
    """

    worst: Measure | None = None
    subject: str = ""
    count: int = 0
    expected: Xfail | None = None

    @property
    def failed(self) -> bool:
        """Whether the cell fails the run: beyond the tolerance, or unexpectedly within it."""
        if self.worst is None:
            return False
        return self.worst.failed is (self.expected is None)

    def __str__(self) -> str:
        if self.worst is None:
            return "-"
        text = "inf" if math.isinf(self.worst.ratio) else f"{self.worst.ratio:.2f}"
        return text + ("!" if self.failed else "x" if self.expected else "")

    def describe(self) -> str:
        """Return one line that says what was found where."""
        if self.worst is None:
            return "nothing to measure"
        if self.expected is not None and self.failed:
            return f"passes, but xfail.toml expects it to fail: {self.expected.reason}"
        worst = f"{self.worst.what}: {self.worst.ratio:.3g} times the tolerance"
        note = f" ({self.worst.note})" if self.worst.note else ""
        return f"{self.subject}: {worst}{note}"


@dataclass
class Report:
    """A table of layers and checks.

    Attributes
    ----------
    title : str
        The backend, its version and its device.
    rows : dict
        From the name of a layer or an operation to its cells by column.
    """

    title: str
    columns: tuple[str, ...] = COLUMNS
    rows: dict[str, dict[str, Cell]] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether any cell failed."""
        return bool(self.failures())

    @property
    def cells(self) -> int:
        """How many cells hold a measurement."""
        return sum(c.worst is not None for row in self.rows.values() for c in row.values())

    def failures(self) -> list[str]:
        """Return a line for every cell that failed."""
        return [
            f"{name}, {column}: {cell.describe()}"
            for name, cells in self.rows.items()
            for column, cell in cells.items()
            if cell.failed
        ]

    def header(self) -> str:
        """Return the line of column names."""
        return "".join(("layer".ljust(NAME_WIDTH), *(c.rjust(WIDTH) for c in self.columns)))

    def line(self, name: str) -> str:
        """Return the line of one layer."""
        cells = self.rows[name]
        shown = (str(cells.get(c, Cell())).rjust(WIDTH) for c in self.columns)
        return "".join((name.ljust(NAME_WIDTH), *shown))

    def __str__(self) -> str:
        lines = [self.title, self.header(), *map(self.line, self.rows), *self.failures()]
        return "\n".join(lines)
