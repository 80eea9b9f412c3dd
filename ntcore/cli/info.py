"""``ntcore info``: backends, versions and devices."""

from __future__ import annotations

import platform
from importlib import metadata

from ntcore import __version__
from ntcore.backend import libraries, load
from ntcore.cli.choose import installed, reason
from ntcore.cli.extras import MODULES, present

DISTRIBUTIONS = {"array_api_strict": ("array-api-strict",), "cupy": ("cupy-cuda12x", "cupy")}


def run() -> None:
    """Print what is here."""
    print(f"ntcore    {__version__}")
    print(f"python    {platform.python_version()} ({platform.python_implementation()})")
    print(f"numpy     {version('numpy')}")
    print(f"platform  {platform.platform()}")
    print()
    rows = [("backend", "version", "devices"), *map(_row, _names())]
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    for name, number, devices in rows:
        print(f"{name:{widths[0]}}  {number:{widths[1]}}  {devices}".rstrip())
    print()
    missing = [name for module, name in MODULES.items() if not present(module)]
    hint = f"needs {', '.join(missing)}: pip install 'ntcore-kernels[demo]'"
    print(f"ntcore demo: {hint if missing else 'ready'}")


def _names() -> list[str]:
    here = installed()
    return [*here, *(name for name in libraries() if name not in here)]


def _row(name: str) -> tuple[str, str, str]:
    """Return the name of a backend, its library's version, and its devices or what is wrong."""
    if not present(name):
        return name, "-", "not installed"
    try:
        devices = ", ".join(load(name).devices()) or "no device found"
    except Exception as error:  # whatever a broken installation raises
        devices = f"does not work here ({reason(error)})"
    return name, version(name), devices


def version(library: str) -> str:
    """Return the installed version of a library."""
    for name in DISTRIBUTIONS.get(library, (library,)):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "?"
