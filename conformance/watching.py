"""Looking into a kernel while it runs: every ``push`` of a network's layers, seen or changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from ntcore.layers.base import Layer
from ntcore.moments import Context, Moments
from ntcore.network import layers_of
from ntcore.record import Record

#: ``(layer, ctx, inputs) -> inputs``, before a push; ``(layer, ctx, inputs, output)``, after it.
Before = Callable[[Layer, Context, tuple[Moments, ...]], tuple[Moments, ...]]
After = Callable[[Layer, Context, tuple[Moments, ...], Moments], None]


@contextmanager
def pushes(
    network: Record, before: Before | None = None, after: After | None = None
) -> Iterator[None]:
    """Call ``before`` and ``after`` around every push of every layer of a network."""
    inside = threading.local()

    def watched(push: Callable[..., Moments]) -> Callable[..., Moments]:
        def call(layer: Layer, ctx: Context, *inputs: Moments) -> Moments:
            if getattr(inside, "depth", 0):  # a push that calls the push of a parent class
                return push(layer, ctx, *inputs)
            if before is not None:
                inputs = before(layer, ctx, inputs)
            inside.depth = 1
            try:
                out = push(layer, ctx, *inputs)
            finally:
                inside.depth = 0
            if after is not None:
                after(layer, ctx, inputs, out)
            return out

        return call

    with ExitStack() as stack:
        classes: dict[type[Layer], Any] = {type(x): type(x).push for x in layers_of(network)}
        for cls, push in classes.items():
            stack.enter_context(mock.patch.object(cls, "push", watched(push)))
        yield
