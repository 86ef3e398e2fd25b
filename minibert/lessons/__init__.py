"""The course's checkers: `from minibert import lessons`. The lessons themselves are in notebooks/.

NumPy is all that is needed for what a learner writes: no Numba, no tokenizers, no HDF5.
"""

from minibert.lessons.checker import Report, WrongAnswer, check
from minibert.lessons.exercises import EXERCISES
from minibert.lessons.going_on import hint, take
from minibert.lessons.real_heads import real_heads
from minibert.lessons.setting import setting, weights
from minibert.lessons.watching import Watched, watch

__all__ = [
    "EXERCISES",
    "Report",
    "Watched",
    "WrongAnswer",
    "check",
    "hint",
    "real_heads",
    "setting",
    "take",
    "watch",
    "weights",
]
