"""The ``ntcore`` command: ``ntcore demo`` and ``ntcore info``.

Exit statuses: 0 done, 2 bad input (one line on stderr), 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from ntcore import __version__
from ntcore.cli.refusal import Refusal
from ntcore.errors import NtcoreError

BAD_INPUT = 2
INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    """A parser that complains in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: error: {message}; see {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process by default.
    """
    args = _parser().parse_args(argv)
    try:
        args.run(args)
        sys.stdout.flush()
    except (Refusal, NtcoreError) as error:
        print(f"ntcore {args.command}: error: {_one_line(error)}", file=sys.stderr)
        return BAD_INPUT
    except MemoryError as error:
        hint = "ask for fewer examples with --n-train and --n-test"
        print(f"ntcore {args.command}: error: out of memory ({error}); {hint}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print(f"\nntcore {args.command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="ntcore", description="Kernels of infinitely wide neural networks.")
    parser.add_argument("--version", action="version", version=f"ntcore {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    demo = commands.add_parser(
        "demo",
        help="train infinitely wide networks in closed form on a real data set",
        description=_DEMO,
        epilog=_MEANING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_demo_options(demo)
    demo.set_defaults(run=_demo)
    info = commands.add_parser("info", help="list backends, versions and devices")
    info.set_defaults(run=_info)
    return parser


def _demo(args: argparse.Namespace) -> None:
    from ntcore.cli import demo

    demo.run(args)


def _info(args: argparse.Namespace) -> None:
    from ntcore.cli import info

    info.run()


_DEMO = """\
Train infinitely wide networks in closed form on a real data set: print the test accuracy, the
likelihood and the seconds of each network's NNGP kernel and NTK, and write two pictures."""

_MEANING = """\
what is computed
  A set is split at random (--seed), scaled with the mean and the deviation of its training
  examples, and regressed on: the targets are one-hot vectors minus their mean. Each kernel is the
  covariance of a Gaussian process; the accuracy is that of the largest posterior mean. NLL is
  the mean of -log p(true class) over the test examples, in nats, where p(class) is the posterior
  probability, noise included, that the output of this class is the largest one (Adlam et al.
  2020, arXiv:2010.07355). The noise (diag_reg, a multiple of the mean variance, from a grid of
  1e-5 to 1) and the scale of the outputs are those of the largest marginal likelihood of the
  training examples; test labels are used to score, never to choose.

your own data
  --dataset FILE.npz with the arrays x and y, or x_train, y_train, x_test and y_test. x holds
  vectors (n, d), or images (n, H, W) or (n, H, W, channels); y holds one label per example,
  integers or text. Anything but images gets fully-connected networks only.

pictures
  ensemble.png  an infinite ensemble against a trained finite one, over training time
  kernel.png    correlations under the NTK of two networks, training examples ordered by class

The numbers are also written to results.json. JAX is switched to 64 bits inside this process,
because the linear systems are solved in float64; kernels are computed in --dtype. BLAS and OpenMP
(which torch uses) run on one thread, which is the fastest on a machine that is not idle."""


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return value


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(text)


def _add_demo_options(parser: argparse.ArgumentParser) -> None:
    def add(name: str, help: str, type: Callable[[str], object] = str, **more: object) -> None:
        parser.add_argument(name, help=help, type=type, **more)  # type: ignore[arg-type]

    add(
        "--dataset",
        "digits (default), breast_cancer, iris or wine, or a FILE.npz of your own",
        default="digits",
        metavar="NAME",
    )
    add(
        "--backend",
        "numpy, jax, torch, cupy, ... (default: the first one installed, in this order)",
        metavar="NAME",
    )
    add("--device", "where, as ntcore info names it (default: the library's own choice)")
    add("--dtype", "of the kernels", default="float32", choices=("float32", "float64"))
    add("--n-train", "training examples (default: 1000, or what there is)", _positive, metavar="N")
    add("--n-test", "test examples (default: 200, or what there is)", _positive, metavar="N")
    parser.add_argument(
        "--full", action="store_true", help="use every example (a fifth of them to test)"
    )
    add(
        "--networks",
        "some of fc-1, fc-3, fc-5, conv-flatten, conv-pool, resnet, separated by commas",
        metavar="NAMES",
    )
    add("--out", "folder of the pictures", default="ntcore-demo", metavar="DIR")
    add("--seed", "of the split and of the finite networks", _natural, default=0, metavar="N")
    parser.add_argument(
        "--quiet", action="store_true", help="print the table alone: no progress, no comments"
    )
