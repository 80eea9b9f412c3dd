"""Write the tables of kernels, predictions and names of neural_tangents, the peer of ntcore.

Run by hand, in an environment of its own, never by the tests::

    python3.11 -m venv PEER
    PEER/bin/pip install neural-tangents==0.6.5 jax==0.4.23 jaxlib==0.4.23 'numpy<2' 'scipy<1.13'
    PEER/bin/python conformance/reference/make_reference.py

It takes about six minutes on two cores, works in float64, and writes

* ``neural_tangents.json``, beside this file: the cases, as data. A kernel case holds the
  expression of the network (``net``, in the names of ``stax`` alone), the names of its inputs,
  ``get``, and ``noise``. A predict case holds the call. ``left_out`` says what is absent and why;
* ``neural_tangents.npz``, beside it: the inputs (``input/<name>``) and the values
  (``<case>/<field>``; ``<case>/<i>/<field>`` for the i-th output of a ``parallel``);
* ``tests/data/neural_tangents_names.json``: the public names and their signatures.

``noise`` is the rounding error of the peer itself, relative to the largest entry of each field: the
kernels are invariant under a rotation of the channels of the inputs, so the spread over a few
rotations measures it. It is near 1e-16 everywhere but in the NTK of piecewise linear activations
where an input meets itself (``x2=None``): the angle there is the root of a rounding error, and the
NTK is off by about 1e-8 per layer. A comparison cannot be sharper than a few times ``noise``.

Kernels over space are stored in the order of the axes of the activations; the peer alternates it
from one convolution to the next (``is_reversed``).
"""

import enum
import inspect
import json
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ["JAX_ENABLE_X64"] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import neural_tangents as nt
import numpy as np
from layer_cases import BOTH, Case
from network_cases import CHANNEL_AXES, INPUT_SHAPES, LEFT_OUT, OUTPUTS, kernel_cases, predict_cases
from neural_tangents import predict, stax

Array = Any

HERE = Path(__file__).parent
NAMES = HERE.parents[1] / "tests" / "data" / "neural_tangents_names.json"
ROTATIONS = 4


def make_inputs() -> dict[str, Array]:
    """The arrays of all cases: independent standard normal entries."""
    rng = np.random.default_rng(20261122)
    return {name: rng.standard_normal(shape) for name, shape in INPUT_SHAPES.items()}


def rotated(inputs: dict[str, Array], rng: np.random.Generator) -> dict[str, Array]:
    """The inputs, all those with the same number of channels rotated by one random rotation."""
    turns: dict[int, Array] = {}
    out = {}
    for name, x in inputs.items():
        axis = CHANNEL_AXES.get(name, -1)
        n = x.shape[axis]
        turn = turns.setdefault(n, np.linalg.qr(rng.standard_normal((n, n)))[0])
        if name not in OUTPUTS:
            out[name] = np.moveaxis(np.moveaxis(x, axis, -1) @ turn, -1, axis)
    return inputs | out


def pick(inputs: dict[str, Array], name: str | list[str] | None) -> Any:
    """The array called ``name``, or the tuple of those called so, or None."""
    if name is None or isinstance(name, str):
        return inputs.get(name) if name else None
    return tuple(inputs[n] for n in name)


def fields_of(kernel: Any, get: Sequence[str]) -> dict[str, Array]:
    """The fields of a Kernel in the order of the axes of the activations; lists get a number."""
    if isinstance(kernel, list | tuple):
        parts = {str(i): fields_of(k, get) for i, k in enumerate(kernel)}
        return {f"{i}/{field}": v for i, part in parts.items() for field, v in part.items()}
    if kernel.is_reversed and not kernel.diagonal_spatial:
        kernel = kernel.reverse()
    return {field: np.asarray(getattr(kernel, field)) for field in get}


def kernel_values(c: Case, inputs: dict[str, Array]) -> dict[str, Array]:
    """What the peer answers to a kernel case."""
    kernel_fn = eval(c["net"], vars(stax))[2]
    kernel = kernel_fn(pick(inputs, c["x1"]), pick(inputs, c["x2"]), None, **c["kwargs"])
    return fields_of(kernel, c["get"])


def named(answer: Any, prefix: str = "") -> dict[str, Array]:
    """A nest of (named) tuples of arrays as one dictionary, keys joined by ``/``."""
    if not isinstance(answer, tuple):
        return {prefix or "mean": np.asarray(answer)}
    start = f"{prefix}/" if prefix else ""
    names = getattr(answer, "_fields", range(len(answer)))
    parts = [named(part, f"{start}{name}") for name, part in zip(names, answer, strict=True)]
    return {key: value for part in parts for key, value in part.items()}


def predict_values(c: Case, inputs: dict[str, Array]) -> dict[str, Array]:
    """What the peer answers to a predict case, and the kernels that the call is given."""
    kernel_fn = eval(c["net"], vars(stax))[2]
    x, x_test = inputs[c["x_train"]], inputs[c["x_test"]]
    if c["function"] == "gradient_descent_mse_ensemble":
        return named(ensemble_answer(c, kernel_fn, inputs))
    k = {
        "train_train": kernel_fn(x, None, BOTH),
        "test_train": kernel_fn(x_test, x, BOTH) if c.get("test", True) else None,
        "test_test": kernel_fn(x_test, None, BOTH) if c.get("cov") else None,
    }
    answers = {"gp_inference": gp_answer, "gradient_descent_mse": descent_answer}
    answer = answers.get(c["function"], rate_answer)(c, k, inputs)
    blocks = [named(block, f"kernel/{n}") for n, block in k.items() if block is not None]
    return named(answer) | {key: v for block in blocks for key, v in block.items()}


def options_of(c: Case) -> dict[str, Any]:
    """The keyword arguments that a predict case gives."""
    names = ("learning_rate", "diag_reg", "diag_reg_absolute_scale", "momentum", "y_train_size")
    return {name: c[name] for name in names if name in c}


def get_of(c: Case) -> str | tuple[str, ...] | None:
    """``get`` as the functions take it."""
    return tuple(c["get"]) if isinstance(c["get"], list) else c["get"]


def time_of(c: Case) -> Array:
    """``t`` as the functions take it."""
    return None if c["t"] is None else np.asarray(c["t"])


def gp_answer(c: Case, k: dict[str, Any], inputs: dict[str, Array]) -> Any:
    """A call of ``gp_inference``."""
    predict_fn = predict.gp_inference(k["train_train"], inputs[c["y"]], **options_of(c))
    return predict_fn(get_of(c), k["test_train"], k["test_test"])


def ensemble_answer(c: Case, kernel_fn: Callable[..., Any], inputs: dict[str, Array]) -> Any:
    """A call of ``gradient_descent_mse_ensemble``."""
    x, y = inputs[c["x_train"]], inputs[c["y"]]
    predict_fn = predict.gradient_descent_mse_ensemble(kernel_fn, x, y, **options_of(c))
    x_test = inputs[c["x_test"]] if c.get("test", True) else None
    return predict_fn(time_of(c), x_test, get_of(c), c.get("cov", False))


def descent_answer(c: Case, k: dict[str, Any], inputs: dict[str, Array]) -> Any:
    """A call of ``gradient_descent_mse``, from the stored outputs if ``fx``, else from zero."""
    predict_fn = predict.gradient_descent_mse(k["train_train"].ntk, inputs[c["y"]], **options_of(c))
    starts = [inputs["f6x10"], inputs["f3x10"]] if c.get("fx") else [0.0, 0.0]
    if k["test_train"] is None:
        return predict_fn(time_of(c), starts[0])
    return predict_fn(time_of(c), *starts, k["test_train"].ntk)


def rate_answer(c: Case, k: dict[str, Any], inputs: dict[str, Array]) -> Any:
    """A call of ``max_learning_rate``."""
    return predict.max_learning_rate(k["train_train"].ntk, **options_of(c))


def spread(values: dict[str, Array], others: Sequence[dict[str, Array]]) -> dict[str, float]:
    """Greatest difference to ``others``, relative to the largest entry, for each field."""
    return {
        field: float(max(np.max(np.abs(o[field] - v)) for o in others) / (np.max(np.abs(v)) or 1.0))
        for field, v in values.items()
    }


def evaluate(
    cases: list[Case],
    answer: Callable[[Case, dict[str, Array]], dict[str, Array]],
    inputs: dict[str, Array],
) -> dict[str, Array]:
    """The values of all cases by ``<case>/<field>``; adds ``noise`` to each case."""
    rng = np.random.default_rng(7)
    turns = [rotated(inputs, rng) for _ in range(ROTATIONS)]
    values = {}
    for i, c in enumerate(cases):
        got = answer(c, inputs)
        assert got and all(np.all(np.isfinite(v)) and v.size for v in got.values()), c["name"]
        noise = spread(got, [answer(c, turn) for turn in turns])
        c["noise"] = {f: float(f"{e:.1e}") for f, e in noise.items() if "kernel" not in f}
        values |= {f"{c['name']}/{field}": v for field, v in got.items()}
        if i % 40 == 39:
            jax.clear_caches()  # thousands of small compiled functions
    return values


def written_default(default: object) -> str:
    """A default as text: its repr, ``Enum.MEMBER``, or ``<name>`` of a function."""
    if default is inspect.Parameter.empty:
        return "<required>"
    if isinstance(default, enum.Enum):
        return f"{type(default).__name__}.{default.name}"
    return f"<{default.__name__}>" if inspect.isfunction(default) else repr(default)


def signature(function: Callable[..., Any]) -> list[list[str]]:
    """``[[name, default], ...]``, stars kept; a bare ``*`` opens the keyword-only arguments."""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    rows: list[list[str]] = []
    bare = True
    for p in inspect.signature(function).parameters.values():
        if p.kind is inspect.Parameter.KEYWORD_ONLY and bare:
            rows.append(["*", "<required>"])
        bare = bare and p.kind not in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)
        default = "<required>" if p.kind in stars else written_default(p.default)
        rows.append([stars.get(p.kind, "") + p.name, default])
    return rows


def names_of(module: ModuleType) -> dict[str, Any]:
    """Every public name: a signature, the members of an enum, or None for other objects."""
    out: dict[str, Any] = {}
    for name in sorted(n for n in dir(module) if not n.startswith("_")):
        thing = getattr(module, name)
        if isinstance(thing, ModuleType):
            continue
        if inspect.isclass(thing) and issubclass(thing, enum.Enum):
            out[name] = {"members": {m.name: m.value for m in thing}}
        else:
            out[name] = signature(thing) if callable(thing) else None
    return out


def names_table() -> dict[str, Any]:
    """Public names of the peer, and the signatures of the functions that its functions return."""
    k = np.eye(2)
    init_fn, apply_fn, kernel_fn = stax.serial(stax.Identity())
    returned = {
        "init_fn": init_fn,
        "apply_fn": apply_fn,
        "kernel_fn": kernel_fn,
        "gp_inference": predict.gp_inference(k, k),
        "gradient_descent": predict.gradient_descent(lambda a, b: ((a - b) ** 2).sum(), k, k),
        "gradient_descent_mse": predict.gradient_descent_mse(k, k),
        "gradient_descent_mse_ensemble": predict.gradient_descent_mse_ensemble(kernel_fn, k, k),
    }
    methods = [n for n, _ in inspect.getmembers(nt.Kernel, callable) if not n.startswith("_")]
    operators = ["__add__", "__getitem__", "__mul__", "__rmul__"]
    return {
        "versions": versions(),
        "stax": names_of(stax),
        "predict": names_of(predict),
        "neural_tangents": names_of(nt),
        "returned": {name: signature(f) for name, f in returned.items()},
        "kernel_methods": {n: signature(getattr(nt.Kernel, n)) for n in operators + methods},
    }


def versions() -> dict[str, str]:
    """What made the tables."""
    return {
        "neural_tangents": nt.__version__,
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def machine() -> str:
    """The processor, its cores and the system, in one line."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor()
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, float64"


def rows(items: Sequence[Any]) -> str:
    """A JSON list with one item a line."""
    return "[\n" + ",\n".join(json.dumps(item) for item in items) + "\n]"


def main() -> None:
    """Write the three files."""
    NAMES.parent.mkdir(parents=True, exist_ok=True)
    NAMES.write_text(json.dumps(names_table(), indent=1) + "\n")
    inputs = make_inputs()
    kernels, predictions = kernel_cases(), predict_cases()
    values = evaluate(kernels, kernel_values, inputs)
    values |= evaluate(predictions, predict_values, inputs)
    values |= {f"input/{name}": x for name, x in inputs.items()}
    np.savez_compressed(HERE / "neural_tangents.npz", **values)
    parts = {
        "versions": json.dumps(versions()),
        "machine": json.dumps(machine()),
        "left_out": rows(LEFT_OUT),
        "kernels": rows(kernels),
        "predictions": rows(predictions),
    }
    text = ",\n".join(f'"{key}": {part}' for key, part in parts.items())
    (HERE / "neural_tangents.json").write_text(f"{{\n{text}\n}}\n")


if __name__ == "__main__":
    main()
