"""Medians and what is known of them."""

from dataclasses import dataclass
from math import comb
from statistics import median

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A median with an interval from order statistics, which assumes nothing about the noise."""

    median: float
    low: float
    high: float
    count: int  # of values


def rank(count):
    """How many values to leave off at each end for an interval that holds the true median with CONFIDENCE.

    0, the whole range, when there are too few for that (see `coverage`).
    """
    best = 0
    for cut in range((count + 1) // 2):
        if _covered(count, cut) >= CONFIDENCE:
            best = cut
    return best


def coverage(count):
    """The probability that the interval of `count` values holds the true median."""
    return _covered(count, rank(count)) if count > 1 else 0.0


def _covered(count, cut):
    """P(the median lies between the values number cut+1 from either end), for independent values."""
    return 1 - 2 * sum(comb(count, i) for i in range(cut + 1)) / 2**count


def estimate(values):
    """None for no values."""
    ordered = sorted(values)
    if not ordered:
        return None
    cut = rank(len(ordered))
    return Estimate(median(ordered), ordered[cut], ordered[len(ordered) - 1 - cut], len(ordered))


def paired(ours, theirs, combine):
    """`combine` of both values of each round that has both (None: a round without a value)."""
    return [combine(a, b) for a, b in zip(ours, theirs) if a is not None and b is not None]
