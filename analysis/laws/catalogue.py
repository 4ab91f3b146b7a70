"""The catalogue of laws, one function each in the file of its topic; analysis/laws/declare.py says how to write one.

get_law("power_offset(D)").columns     # ('D',)
get_law("chinchilla(n_total, D)")      # the same law under another convention of counting
get_law("accuracy ~ power_offset(C)")  # the same law of another target
LAWS["chinchilla"].formula             # 'L(N, D) = E + A N^-alpha + B D^-beta'
"""

from isoflop import extensions

# in the order in which the laws are listed
from isoflop.analysis.laws import one_axis, size_and_data, repetition, architecture, training, schedules, downstream  # isort: skip
from isoflop.analysis.laws.declare import LAWS, Kind, Law, get_law

__all__ = ["LAWS", "TOPICS", "Kind", "Law", "get_law"]

TOPICS = (one_axis, size_and_data, repetition, architecture, training, schedules, downstream)

extensions.load("laws")
