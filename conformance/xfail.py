"""Known failures of libraries below ntcore, from ``xfail.toml``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Xfail:
    """One known failure.

    Attributes
    ----------
    backend, check, layer : str
        Where it shows; ``'*'`` stands for every layer.
    reason, upstream : str
        What goes wrong, and the thread that follows it.
    """

    backend: str
    check: str
    layer: str
    reason: str
    upstream: str


@cache
def known() -> tuple[Xfail, ...]:
    """Return every entry of ``xfail.toml``."""
    text = files("ntcore.conformance").joinpath("xfail.toml").read_text("utf-8")
    return tuple(Xfail(**entry) for entry in tomllib.loads(text).get("xfail", []))


def expected(backend: str, check: str, layer: str) -> Xfail | None:
    """Return the entry for a cell of the report, if there is one."""
    for entry in known():
        if (entry.backend, entry.check) == (backend, check) and entry.layer in ("*", layer):
            return entry
    return None
