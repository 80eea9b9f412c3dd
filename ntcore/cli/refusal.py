"""The one exception with which a command refuses bad input."""

from __future__ import annotations


class Refusal(Exception):
    """Bad input to a command: its message is the line printed before exit status 2."""
