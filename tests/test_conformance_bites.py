"""Every check of the conformance suite can fail: each one is given the defect it looks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ntcore import conformance, entry, layers, planner, tiles
from ntcore.backend import Backend, host
from ntcore.conformance import xfail
from ntcore.conformance.__main__ import main
from ntcore.conformance.cases import layer_classes
from ntcore.conformance.checks import COLUMNS
from ntcore.conformance.fixtures import Library
from ntcore.conformance.measure import close
from ntcore.conformance.report import Cell
from ntcore.conformance.runner import cell, operation
from ntcore.need import everything
from ntcore.ops import REFERENCE
from ntcore.record import record

# The check `agree` compares NumPy with it, and these run on NumPy alone.
pytest.importorskip("array_api_strict")


class Sound(layers.Relu):
    """A layer of one example that is what it says."""

    @classmethod
    def examples(cls):
        return [cls()]


class SoundErf(layers.Erf):
    """The same, smooth."""

    @classmethod
    def examples(cls):
        return [cls()]


def found(column: str, cls: type, backend: Backend | None = None) -> Cell:
    return cell(Library(backend or host()), cls, column)


def caught(column: str, cls: type, what: str, backend: Backend | None = None) -> None:
    """Assert that a column reports a defect, and for the right reason."""
    worst = found(column, cls, backend).worst
    assert worst is not None and worst.failed
    assert what in worst.what or what in worst.note, worst


WITHOUT_LIBRARY = {"jit", "grad", "corner", "examples"}


@pytest.mark.parametrize("column", [c for c in COLUMNS if c not in WITHOUT_LIBRARY])
@pytest.mark.parametrize("cls", [Sound, SoundErf])
def test_sound_layer_passes(cls, column):
    assert not found(column, cls).failed
    assert found(column, cls).count > 0


# --- examples, agree ----------------------------------------------------------------------------


def test_argument_without_example():
    @record
    class Forgetful(layers.Identity):
        loud: bool = False

    caught("examples", Forgetful, "examples of loud")


def scaled(name: str, factor: float) -> dict[str, Any]:
    """Fused operations of which one is off by a factor."""

    def off(at, *args):
        out = REFERENCE[name](at, *args)
        return tuple(factor * x for x in out) if isinstance(out, tuple) else factor * out

    return {**host().fused, name: off}


@pytest.mark.parametrize("factor", [1 + 1e-12, np.nan])
def test_other_numbers_than_numpy(factor):
    caught("agree", Sound, "agreement inputs", replace(host(), fused=scaled("rectifier", factor)))


# --- plan, need ---------------------------------------------------------------------------------


def test_layer_that_computes_more_than_planned():
    class Wasteful(layers.Identity):
        def need(self, out, shape1, shape2):
            return everything(shape1.spatial, shape2.spatial)

        def mix(self, ctx, cov):
            return cov

    caught("plan", Wasteful, "computed")


def test_interpreter_that_computes_everything(monkeypatch):
    class Fresh(Sound):
        pass

    def lavish(network, inputs, options):
        return planner.make_plan(network, inputs, replace(options, minimal=False))

    monkeypatch.setattr(entry, "make_plan", lavish)
    caught("plan", Fresh, "computed")


def test_need_that_is_too_small():
    class Stingy(layers.AvgPool):
        @classmethod
        def examples(cls):
            return [cls((2, 2))]

        def need(self, out, shape1, shape2):
            return out

    assert found("plan", Stingy).failed


@pytest.mark.parametrize("base", [layers.Relu, layers.Conv, layers.AvgPool, layers.FanInSum])
def test_every_need_replaced_by_all(base, monkeypatch):
    class Fresh(base):  # of its own, so that no plan of it is cached
        @classmethod
        def examples(cls):
            return super().examples()[:1] or [cls()]

    def all_offsets(self, out, shape1, shape2):
        return everything(shape1.spatial, shape2.spatial)

    assert not found("need", Fresh).failed
    for cls in layer_classes().values():
        monkeypatch.setattr(cls, "need", all_offsets)

    class Again(Fresh):
        pass

    caught("need", Again, "nothing reads")


# --- symmetry, place ----------------------------------------------------------------------------


def test_asymmetric_layer():
    class Lopsided(Sound):
        def push(self, ctx, *inputs):
            out = super().push(ctx, *inputs)
            if ctx.layout.paired:
                return out
            n1, n2 = out.nngp.data.shape[-2:]
            tilt = 1e-9 * (np.arange(n1)[:, None] - np.arange(n2)[None, :])
            return replace(out, nngp=replace(out.nngp, data=out.nngp.data + tilt))

    caught("symmetry", Lopsided, "transposed")


def test_bits_that_are_not_symmetric(monkeypatch):
    straight = tiles.mirrored
    monkeypatch.setattr(tiles, "mirrored", lambda *args: straight(*args) * (1 + 1e-15))
    monkeypatch.setattr(tiles.Tile, "on_diagonal", False)
    monkeypatch.setattr(tiles.Grid, "__iter__", lambda grid: iter(_pairs(grid)))
    caught("symmetry", Sound, "symmetric")


def _pairs(grid):
    """One pair at a time, the lower half of a symmetric kernel mirrored from the upper."""
    for i in range(grid.n1):
        for j in range(i if grid.symmetric else 0, grid.n2):
            yield tiles.Tile(i, i + 1, j, j + 1)


def test_kernel_that_is_not_semidefinite():
    class Negative(Sound):
        def dual(self, at, k, q1, q2):
            moment, slope = super().dual(at, k, q1, q2)
            return -moment, slope

    caught("symmetry", Negative, "semi-definite")


def test_diagonal_that_is_not_the_variance():
    class Uneven(Sound):
        def push(self, ctx, *inputs):
            out = super().push(ctx, *inputs)
            return replace(out, nngp=out.nngp.affine(1.001 if ctx.layout.paired else 1.0))

    caught("symmetry", Uneven, "diagonal")


def test_float64_out_of_float32():
    class Wide(Sound):
        def dual(self, at, k, q1, q2):
            return tuple(x.astype(np.float64) for x in super().dual(at, k, q1, q2))

    caught("place", Wide, "data type")


def test_another_device():
    odd = replace(host(), device=lambda x: "cpu" if x.shape[-1] == 3 else "elsewhere")
    caught("place", Sound, "device", odd)


# --- jit, grad, corner --------------------------------------------------------------------------


def differentiable(value: float, slope: float) -> Backend:
    """NumPy with a derivative that is a constant, and that changes the value."""

    def vjp(fn, *point):
        out = tuple(value * x for x in fn(*point))
        return out, lambda grads: tuple(np.full_like(p, slope) for p in point)

    return replace(host(), vjp=vjp)


def test_compiled_differs_from_eager():
    def jit(fn):
        return lambda *point: tuple(1.0001 * x for x in fn(*point))

    caught("jit", Sound, "under jit", replace(host(), jit=jit))


@pytest.mark.parametrize(
    ("value", "slope", "what"),
    [(1.0, 0.5, "gradient of"), (1.0, np.nan, "gradient of"), (np.nan, 0.5, "under vjp")],
)
def test_wrong_gradient(value, slope, what):
    caught("grad", Sound, what, differentiable(value, slope))


@pytest.mark.parametrize(
    ("value", "slope", "what"), [(1.0, np.inf, "gradient at"), (1.1, 0.0, "under vjp")]
)
def test_gradient_at_coincident_inputs(value, slope, what):
    caught("corner", Sound, what, differentiable(value, slope))


# --- price, dual --------------------------------------------------------------------------------


class Tilted(SoundErf):
    """The derivative's moment does not follow from the moment."""

    def dual(self, at, k, q1, q2):
        moment, slope = super().dual(at, k, q1, q2)
        return moment, slope * (1 + 1e-9)


class Off(SoundErf):
    """Both moments are off by one factor, so that Price's theorem still holds."""

    def dual(self, at, k, q1, q2):
        return tuple(x * (1 + 1e-9) for x in super().dual(at, k, q1, q2))


class Stepless(SoundErf):
    """Says that it has no weak derivative, but has one."""

    weak_derivative = False


class Bent(SoundErf):
    """The derivative is not that of the function, and its moment agrees with neither."""

    def derivative(self, at, x):
        return 1.001 * super().derivative(at, x)


def test_slope_that_is_no_derivative():
    caught("price", Tilted, "Price")
    caught("price", Stepless, "weak derivative")


def test_moment_that_is_no_integral():
    assert not found("price", Off).failed
    caught("dual", Off, "quadrature")
    assert found("dual", Bent).failed


# --- tiles, finite, sample ----------------------------------------------------------------------


def test_result_that_depends_on_tiles():
    class Tiled(Sound):
        def push(self, ctx, *inputs):
            out = super().push(ctx, *inputs)
            return replace(out, nngp=out.nngp.affine(1 + 1e-13 * out.nngp.data.shape[-1]))

    # A chain is recorded once, for tiles of every size.
    caught("tiles", Tiled, "in tiles of", replace(host(), chain=None))


def test_result_that_depends_on_the_run():
    class Restless(Sound):
        def push(self, ctx, *inputs):
            out = super().push(ctx, *inputs)
            noise = 1 + 1e-15 * np.random.default_rng().standard_normal()
            return replace(out, nngp=out.nngp.affine(noise))

    # A chain is recorded once, and its layers' whims with it.
    caught("tiles", Restless, "twice", replace(host(), chain=None))


def test_reverse_rule_that_is_wrong():
    class Backward(Sound):
        def backward(self, run, params, inputs, grad):
            own, (below,) = super().backward(run, params, inputs, grad)
            return own, (1.0001 * below,)

    caught("finite", Backward, "gradients")


def test_shape_that_is_not_planned():
    class Wider(layers.Identity):
        def shape(self, *inputs):
            return inputs[0].with_sizes(inputs[0].spatial, inputs[0].channels + 1)

    caught("finite", Wider, "shape of apply")


def test_infinite_network_that_is_another():
    class Loud(Sound):
        def fn(self, at, x):
            return 1.2 * super().fn(at, x)

        def derivative(self, at, x):
            return 1.2 * super().derivative(at, x)

    caught("sample", Loud, "finite networks")


def test_parameters_that_ntk_ignores():
    class Frozen(layers.Dense):
        @classmethod
        def examples(cls):
            return [cls(7)]

        def coefficients(self, ctx, m):
            return replace(super().coefficients(ctx, m), trained=None)

    caught("sample", Frozen, "ntk of finite networks")


# --- fused --------------------------------------------------------------------------------------


def test_fused_operation_with_other_numbers():
    off = replace(host(), fused=scaled("rectifier", 1 + 1e-9))
    caught("fused", Sound, "rectifier", off)
    assert operation(Library(off), "rectifier", [Sound]).failed


@pytest.mark.parametrize(("name", "what"), [("arcsine", "runs"), ("unheard_of", "reference")])
def test_fused_operation_that_is_of_no_use(name, what):
    odd = replace(host(), fused={name: REFERENCE["arcsine"]})
    worst = operation(Library(odd), name, [Sound]).worst
    assert worst is not None and worst.failed and what in worst.what


# --- the frame ----------------------------------------------------------------------------------


class Broken(Sound):
    """Raises instead of computing."""

    def push(self, ctx, *inputs):
        raise RuntimeError("no push today")


class Homeless(layers.Conv):
    """Fits none of the inputs that the suite tries."""

    @classmethod
    def examples(cls):
        return [cls(3, (2, 2, 2, 2, 2))]


def test_what_raises_is_a_failure():
    caught("agree", Broken, "no push today")
    caught("agree", Homeless, "input kind")


def test_input_kind_of_an_example():
    class Housed(Homeless):
        @classmethod
        def examples(cls):
            return [(cls(3, (2, 2, 2, 2, 2)), (2, 3, 2, 2, 2, 4))]

    assert not found("finite", Housed).failed


def test_nan_is_no_agreement():
    assert close("x", [np.nan], [1.0], "agreement", "float64").failed
    assert close("x", [1.0], [np.nan], "agreement", "float64").failed
    assert close("x", [1.0, 2.0], [1.0], "agreement", "float64").failed


def test_expected_failure(monkeypatch):
    entry = xfail.Xfail("numpy", "agree", "*", "reason", "https://example.org")
    monkeypatch.setattr(xfail, "known", lambda: (entry,))
    assert not found("agree", Broken).failed
    assert found("agree", Sound).failed
    assert "expects it to fail" in found("agree", Sound).describe()


def test_run_takes_layers_and_records_of_others():
    report = conformance.run(replace(host()), layers=[SoundErf], checks=["agree", "price"])
    assert not report.failed
    assert set(report.rows) == {"SoundErf"}
    assert "0.0" in str(report)
    assert conformance.run(layers=[Broken], checks=["place"], dtypes=["float32"]).failed


def test_command(capsys, monkeypatch):
    monkeypatch.setattr("ntcore.layers.Broken", Broken, raising=False)
    arguments = ["--checks", "place", "--dtype", "float32"]
    assert main(["--layers", "Relu", *arguments]) == 0
    assert "Relu" in capsys.readouterr().out
    assert main(["--layers", "Relu,ntcore.layers:Broken", *arguments]) == 1
    assert "FAILED Broken, place" in capsys.readouterr().out
    assert main(["--layers", "Reluu"]) == 2
    assert main(["--backend", "nothing"]) == 2
    assert main(["--device", "moon"]) == 2
    assert capsys.readouterr().err.count("error:") == 3
