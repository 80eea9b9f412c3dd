"""Derivatives of functions written against the Array API, where the library has none of its own.

A function runs once on :class:`~ntcore.tape.array.Traced` arrays, which record what is done to
them; the record is then swept forwards (tangents) or backwards (cotangents). The sweeps are
themselves written in the Array API, so that a traced array may hold another tape's: that is how
second and higher derivatives come about.
"""

from ntcore.tape.array import Traced as Traced
from ntcore.tape.trace import Tape as Tape
from ntcore.tape.transforms import backend_on as backend_on
from ntcore.tape.transforms import jvp as jvp
from ntcore.tape.transforms import tape_of as tape_of
from ntcore.tape.transforms import vjp as vjp
