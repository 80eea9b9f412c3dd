"""What only the ``demo`` extra brings, checked before it is used."""

from __future__ import annotations

import importlib.util

from ntcore.cli.refusal import Refusal

MODULES = {"sklearn": "scikit-learn", "matplotlib": "matplotlib", "tqdm": "tqdm"}


def require() -> None:
    """Refuse, naming the command that installs them, if any of the extras is missing."""
    missing = [name for module, name in MODULES.items() if not present(module)]
    if missing:
        raise Refusal(
            f"the demo needs {', '.join(missing)}, which are not installed: "
            "pip install 'ntcore-kernels[demo]'"
        )


def present(module: str) -> bool:
    """Whether a module can be imported, found out without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
