"""What will be computed: the shape, the traits and the need of every edge, without any array.

A plan is made by :mod:`ntcore.planner` and followed by :mod:`ntcore.kernel`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from ntcore.cov import Layout, layout_of
from ntcore.inputs import leaves_of, pairs_of
from ntcore.layers.base import Layer
from ntcore.moments import Traits
from ntcore.need import Need, describe, union
from ntcore.network import Tree
from ntcore.shape import Shape

#: Variances are kept where they take less than this fraction of the memory there is, once while
#: they are put together and once more.
SHARE_KEPT = 4


@dataclass(frozen=True)
class Edge:
    """One edge of a network: what flows there, and which of its entries are asked for.

    ``cross`` is the need of the block between the two batches; ``side1`` and ``side2`` are those
    of each batch with itself. None asks for nothing. ``counts`` are the examples of each batch,
    and ``same`` says whether the two are one. A ``summed`` edge is asked for the sum of all entries
    alone, and a ``dense`` one holds a matrix of positions for every pair. A ``listed`` one has
    pairs of examples, one after the other, in place of two batches.
    """

    shape1: Shape
    shape2: Shape
    traits: Traits
    counts: tuple[int, int]
    same: bool
    cross: Need | None = None
    side1: Need | None = None
    side2: Need | None = None
    summed: bool = False
    dense: bool = False
    listed: bool = False

    def layout(self, block: str = "cross") -> Layout:
        """Return the layout of a block: ``'cross'``, ``'side1'`` or ``'side2'``."""
        need = getattr(self, block)
        one, two = block_shapes(self, block)
        paired = self.listed or block != "cross"
        return layout_of(need, one.spatial, two.spatial, paired, self.dense)

    @property
    def pairs(self) -> int:
        """Pairs of examples to be computed."""
        return pairs_of(self.counts, self.same)

    @property
    def entries(self) -> int:
        """Entries of the cross block for each pair of examples."""
        return 0 if self.cross is None else self.layout().entries

    def __str__(self) -> str:
        if self.cross is None or self.summed:
            return "-" if self.cross is None else "sum"
        pairs = zip(self.cross.axes, self.shape1.spatial, self.shape2.spatial, strict=True)
        return " x ".join(describe(d, (a, b)) for d, a, b in pairs) or "."


@dataclass(frozen=True)
class Step:
    """One layer at work: its structure, the edges it reads and the edge it writes.

    ``regroups`` says whether it picks or joins examples, and so takes whole batches; ``maps``
    whether it maps the features of each batch by themselves, and no block is read.
    """

    layer: Layer
    inputs: tuple[int, ...]
    output: int
    regroups: bool = False
    maps: bool = False


@dataclass(frozen=True)
class Cost:
    """Totals over a whole kernel, for the cross block.

    Attributes
    ----------
    entries : int
        Entries computed, over all edges and pairs.
    flops : float
        Floating-point operations, about.
    bytes_moved : float
        Bytes read and written by the layers, about.
    bytes_widest : float
        Bytes of the widest edge, were it held for all pairs at once.
    bytes_result : float
        Bytes of the result.
    bytes_kept : float
        Bytes of what layers read of each batch alone, such as variances, over all edges.
    """

    entries: int
    flops: float
    bytes_moved: float
    bytes_widest: float
    bytes_result: float
    bytes_kept: float


@dataclass(frozen=True)
class Options:
    """What is asked of a plan.

    Attributes
    ----------
    ntk : bool
        Whether the NTK is computed beside the NNGP kernel.
    nngp : bool
        Whether the NNGP kernel is in the result, beside what the NTK takes of it.
    cov : bool
        Whether the variances of the output are asked for as well.
    diagonal_spatial : bool
        Whether only offset 0 of the output is asked for.
    minimal : bool
        False asks for every offset at every edge; it only costs, and serves to check plans.
    itemsize : int
        Bytes of a number.
    memory_budget : int or None
        Bytes that the computation may take beside its inputs.
    """

    ntk: bool = True
    nngp: bool = True
    cov: bool = False
    diagonal_spatial: bool = False
    minimal: bool = True
    itemsize: int = 4
    memory_budget: int | None = None


@dataclass(frozen=True)
class Plan:
    """A network at given input shapes, worked out edge by edge; printing shows every edge.

    Attributes
    ----------
    steps : tuple of Step
        The layers in the order in which they run.
    edges : tuple of Edge
        The edges, inputs first.
    inputs, outputs : tree of int
        The edges the network reads and writes, in the structure of its inputs and outputs.
    options : Options
        What was asked for.
    """

    steps: tuple[Step, ...]
    edges: tuple[Edge, ...]
    inputs: Tree
    outputs: Tree
    options: Options

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Plans are keys, time and again."""
        return hash((self.steps, self.edges, self.inputs, self.outputs, self.options))

    @property
    def pairs(self) -> int:
        """Pairs of examples that come in."""
        first: int = leaves_of(self.inputs)[0]
        return self.edges[first].pairs

    @cached_property
    def output_edges(self) -> tuple[int, ...]:
        """The edges that the network writes, each once."""
        return tuple(dict.fromkeys(leaves_of(self.outputs)))

    @property
    def blocks(self) -> int:
        """How many blocks are computed: 1 for the NNGP kernel alone, 2 with the NTK."""
        return 2 if self.options.ntk else 1

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return self.options.itemsize

    @cached_property
    def cost(self) -> Cost:
        """Entries, FLOPs and bytes of the cross block, over all pairs."""
        entries = [e.entries * e.pairs for e in self.edges]
        item = self.itemsize * self.blocks
        moved = sum(sum(entries[i] for i in s.inputs) + entries[s.output] for s in self.steps)
        return Cost(
            entries=sum(entries),
            flops=sum(self.flops(s) for s in self.steps),
            bytes_moved=float(moved * item),
            bytes_widest=float(max(entries) * item),
            bytes_result=self._bytes_result,
            bytes_kept=self._bytes_kept,
        )

    @property
    def _bytes_result(self) -> float:
        """Both halves of a symmetric kernel are there in the end."""
        edges = [self.edges[i] for i in leaves_of(self.outputs)]
        entries = sum(e.entries * e.counts[0] * e.counts[1] for e in edges)
        arrays = self.options.nngp + self.options.ntk
        return float(entries * self.itemsize * arrays)

    @cached_property
    def _bytes_kept(self) -> float:
        total = 0
        for batch, block in enumerate(("side1", "side2")):
            for i, layout in self.kept(block).items():
                if not (batch and self.edges[i].same):
                    total += layout.entries * self.edges[i].counts[batch]
        return float(total * self.itemsize)

    def kept(self, block: str) -> dict[int, Layout]:
        """Return the layout of what layers or the caller read of each edge of one batch."""
        return self._kept[block]

    @cached_property
    def _kept(self) -> dict[str, dict[int, Layout]]:
        return {block: self._find_kept(block) for block in ("side1", "side2")}

    def _find_kept(self, block: str) -> dict[int, Layout]:
        needs: dict[int, Need | None] = {}
        for step in (s for s in self.steps if not s.maps):
            for i in step.inputs:
                shape = block_shapes(self.edges[i], block)[0]
                needs[i] = union([needs.get(i), step.layer.sides(shape)])
        for i in leaves_of(self.outputs):
            needs[i] = union([needs.get(i), getattr(self.edges[i], block)])
        sizes = {i: block_shapes(self.edges[i], block)[0].spatial for i in needs}
        return {
            i: layout_of(need, sizes[i], sizes[i], paired=True)
            for i, need in needs.items()
            if need is not None
        }

    @cached_property
    def keeps(self) -> bool:
        """Whether variances are kept for all examples, rather than computed for every tile."""
        budget = self.options.memory_budget
        if budget is None or any(self.edges[i].side1 for i in leaves_of(self.outputs)):
            return True
        return self._bytes_kept * SHARE_KEPT <= budget - self._bytes_result

    def flops(self, step: Step) -> float:
        """Return the floating-point operations of one layer over all pairs."""
        out, inputs = self.edges[step.output], [self.edges[i] for i in step.inputs]
        each = step.layer.flops(tuple(e.shape1 for e in inputs)) * out.entries
        if step.maps:  # products of features
            each = 2.0 * inputs[0].shape1.channels * out.entries
        elif any(e.summed for e in (out, *inputs)):  # entries are weighed and added up
            each = 3.0 * sum(e.entries for e in inputs)
        return each * out.pairs * self.blocks

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [
            ("layer", "shape", "offsets", "entries/pair", "FLOPs", "bytes")
        ]
        rows += [self._row("input", i, 0.0) for i in leaves_of(self.inputs)]
        rows += [self._row(repr(s.layer), s.output, self.flops(s)) for s in self.steps]
        cost = self.cost
        total = (
            f"{self.pairs:,} pairs, {cost.entries:,} entries, {_short(cost.flops)} FLOPs, "
            f"{_short(cost.bytes_moved)}B moved, {_short(cost.bytes_widest)}B widest edge, "
            f"{_short(cost.bytes_result)}B result, {_short(cost.bytes_kept)}B variances "
            + ("kept" if self.keeps else "computed again for every tile")
        )
        held = [f"whole batches are held at {s.layer!r}" for s in self.steps if s.regroups]
        return "\n".join([*_table(rows), *held, total])

    def _row(self, name: str, edge: int, flops: float) -> tuple[str, ...]:
        e = self.edges[edge]
        shape = "x".join(map(str, (*e.shape1.spatial, e.shape1.channels)))
        held = _short(e.entries * e.pairs * self.blocks * self.itemsize)
        return name, shape, str(e), f"{e.entries:,}", _short(flops), f"{held}B"


def block_shapes(edge: Edge, block: str) -> tuple[Shape, Shape]:
    """Return the shapes that a block compares."""
    first = edge.shape2 if block == "side2" else edge.shape1
    return first, edge.shape1 if block == "side1" else edge.shape2


# --- printing ----------------------------------------------------------------------------------


def _short(x: float) -> str:
    """Write a number with three digits and a prefix."""
    if x < 1000:
        return f"{x:.0f} "
    power = min(int(math.log10(x) // 3), 6)
    return f"{x / 1000**power:.3g} {'_kMGTPE'[power]}"


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    left = {0, 1, 2}
    return [
        "  ".join(
            c.ljust(w) if i in left else c.rjust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
