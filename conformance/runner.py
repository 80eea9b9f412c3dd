"""Running the checks: by layer and column, on one backend."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from ntcore.backend import Backend, host
from ntcore.conformance import fused, xfail
from ntcore.conformance.bench import Bench
from ntcore.conformance.cases import Case, first, layer_classes, vectors
from ntcore.conformance.checks import CHECKS, COLUMNS, Check
from ntcore.conformance.fixtures import DTYPES, Library, library
from ntcore.conformance.measure import Measure
from ntcore.conformance.report import Cell, Report
from ntcore.errors import Unsupported
from ntcore.layers.base import Layer

Done = Callable[[Report, str], None]
Found = Iterator[tuple[str, Measure]]


def run(
    backend: str | Backend | Library = "numpy",
    layers: Iterable[type[Layer]] | None = None,
    *,
    checks: Iterable[str] = COLUMNS,
    dtypes: Iterable[str] = DTYPES,
    device: str | None = None,
    done: Done | None = None,
) -> Report:
    """Run the suite on one backend.

    Parameters
    ----------
    backend : str, Backend or Library
        The import name of a known library, or the record of one that ntcore does not know yet.
    layers : iterable of layer classes, optional
        Every layer of ntcore by default; or a third party's own, which need not be registered
        anywhere. Checks about the layer alone run on NumPy, and only where layers are given or
        the backend is NumPy's.
    checks : iterable of str
        Columns of the report.
    dtypes : iterable of str
        ``'float64'``, ``'float32'``.
    device : str, optional
        A device as ``Backend.devices`` lists them.
    done : callable, optional
        Called with the report and the name of each row that is finished.

    Returns
    -------
    Report
        Printable; ``report.failed`` tells whether anything was beyond its tolerance.
    """
    lib = _library(backend, device)
    classes = list(layer_classes().values() if layers is None else layers)
    columns, wanted = tuple(c for c in COLUMNS if c in set(checks)), tuple(dtypes)
    about_layers = layers is not None or lib.record is host()
    report = Report(_title(lib), columns)
    for cls in classes:
        report.rows[cls.__name__] = {
            column: cell(lib, cls, column, wanted, about_layers) for column in columns
        }
        if done is not None:
            done(report, cls.__name__)
    if "fused" in columns:
        for name in lib.record.fused:
            every = layer_classes().values()
            report.rows[f"op {name}"] = {"fused": operation(lib, name, every, wanted)}
            if done is not None:
                done(report, f"op {name}")
    return report


def _library(backend: str | Backend | Library, device: str | None) -> Library:
    if isinstance(backend, Backend):
        backend = Library(backend)
    found = library(backend) if isinstance(backend, str) else backend
    return found if device is None else replace(found, where=device)


def _title(lib: Library) -> str:
    module = __import__(lib.name)
    version = getattr(module, "__version__", "")
    where = lib.where or ", ".join(lib.record.devices())
    return f"{lib.name} {version} on {where}; 1.00 is at the tolerance, ! beyond it"


# --- cells --------------------------------------------------------------------------------------


def cell(
    lib: Library,
    cls: type[Layer],
    column: str,
    dtypes: tuple[str, ...] = DTYPES,
    about_layers: bool = True,
) -> Cell:
    """Return what the checks of one column find about one layer."""
    found = (
        each
        for check in CHECKS
        if check.name == column and issubclass(cls, check.role)
        for each in _found(lib, cls, check, dtypes, about_layers)
    )
    return _cell(found, xfail.expected(lib.name, column, cls.__name__))


def _found(
    lib: Library, cls: type[Layer], check: Check, dtypes: tuple[str, ...], about_layers: bool
) -> Found:
    if check.needs is not None and not getattr(lib.record, check.needs):
        return
    if check.host:
        if not about_layers:
            return
        lib = Library(host())
    for dtype in check.dtypes:
        if dtype in dtypes and dtype in lib.dtypes():
            yield from _on(Bench(lib, dtype), cls, check)


def _on(bench: Bench, cls: type[Layer], check: Check) -> Found:
    """Measure every subject of a check; what raises is a failure like any other."""
    try:
        subjects = check.subjects(cls, bench.compiles)
    except Exception as error:
        yield cls.__name__, _raised("the examples", error)
        return
    for subject in subjects:
        label = f"{subject} in {bench.dtype}" if isinstance(subject, Case) else cls.__name__
        try:
            for measure in check.measure(bench, subject):
                yield label, measure
        except Unsupported as error:
            if not check.may_lack:
                yield label, _raised(check.about, error)
        except Exception as error:
            yield label, _raised(check.about, error)


def _raised(what: str, error: Exception) -> Measure:
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}:{where.lineno}"
    return Measure(what, math.inf, f"{type(error).__name__} at {place}: {error}")


def _cell(found: Found, known: xfail.Xfail | None) -> Cell:
    every = list(found)
    if not every:
        return Cell()
    # NaN is no number to be compared: it counts as the worst.
    subject, worst = max(every, key=lambda x: math.inf if math.isnan(x[1].ratio) else x[1].ratio)
    return Cell(worst, subject, len(every), known)


def operation(
    lib: Library, name: str, classes: Iterable[type[Layer]], dtypes: tuple[str, ...] = DTYPES
) -> Cell:
    """Return what is found about one fused operation: its numbers, and whether it runs."""
    found: list[tuple[str, Measure]] = []
    try:
        cases = [case for cls in classes for case in (*vectors(cls), *first(cls))]
        for dtype in dtypes:
            if dtype in lib.dtypes():
                bench = Bench(lib, dtype)
                found += [(f"operands in {dtype}", m) for m in fused.operation(bench, name)]
                found.append((dtype, fused.runs(bench, name, cases)))
    except Exception as error:
        found.append((name, _raised("an operation", error)))
    return _cell(iter(found), xfail.expected(lib.name, "fused", f"op {name}"))
