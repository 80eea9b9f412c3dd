"""Nodes and weights of Gauss, from the Jacobi matrices of their polynomials."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from ntcore.backend import host

#: Nodes of Gauss and Hermite further out weigh nothing for a function that grows like a power.
REACH = 15.0


@lru_cache(maxsize=64)
def legendre_rule(degree: int) -> tuple[Any, Any]:
    """Return nodes and weights of Gauss and Legendre on the unit interval."""
    np = host().namespace
    n = np.arange(1.0, degree)
    side = n / np.sqrt(4 * n * n - 1)
    nodes, vectors = np.linalg.eigh(np.diag(side, 1) + np.diag(side, -1))
    return (nodes + 1) / 2, vectors[0] ** 2


@lru_cache(maxsize=64)
def hermite_rule(degree: int) -> tuple[Any, Any]:
    """Return the nodes, and the table of weights times Hermite polynomials, (node, order).

    Nodes are eigenvalues of the Jacobi matrix, refined by a step of Newton's method.
    """
    np = host().namespace
    root = np.sqrt(np.arange(1.0, degree + 1))
    nodes = np.linalg.eigvalsh(np.diag(root[:-1], 1) + np.diag(root[:-1], -1))
    rows = _hermite_functions(np, nodes, degree)
    with np.errstate(all="ignore"):
        step = rows[degree] / (root[-1] * rows[degree - 1])
    nodes = nodes - np.where(np.abs(nodes) < REACH, step, 0.0)
    nodes = (nodes - nodes[::-1]) / 2
    nodes = nodes[np.abs(nodes) < REACH]
    rows = _hermite_functions(np, nodes, degree)[:degree]
    weights = np.exp(-nodes * nodes / 4) / np.sum(rows * rows, axis=0)
    return nodes, (rows * weights).T


def _hermite_functions(np: Any, x: Any, degree: int) -> Any:
    r"""Return :math:`h_n(x)\, e^{-x^2 / 4}` for every order up to the degree."""
    rows = [np.exp(-x * x / 4)]
    rows.append(x * rows[0])
    for n in range(1, degree):
        rows.append((x * rows[n] - math.sqrt(n) * rows[n - 1]) / math.sqrt(n + 1))
    return np.stack(rows)
