"""Targets, and whether measured values meet them.

`results` maps a peer to its values, one for each round (None where it could not be measured).
"""

from dataclasses import dataclass
from statistics import median

from stats import estimate, paired

OURS = "merlon"
NAMES = {
    "relay": "relay", "nginx": "nginx", "haproxy": "HAProxy", "h2o": "h2o", "nghttpx": "nghttpx", "merlon": "Merlon",
}  # fmt: skip


def _values(results, peer):
    return [value for value in results.get(peer, ()) if value is not None]


def ratio(results, peer):
    """Estimate of Merlon's value over the peer's, round by round; None without a common round."""
    return estimate(paired(results.get(OURS, ()), results.get(peer, ()), lambda ours, theirs: ours / theirs))


def best_peer(results):
    """The other proxy with the smallest median. The relay is no proxy."""
    proxies = [peer for peer in results if peer not in (OURS, "relay") and _values(results, peer)]
    medians = {peer: median(_values(results, peer)) for peer in proxies}
    return min(medians, key=medians.get) if medians else None


@dataclass(frozen=True)
class AtMost:
    bound: float

    def text(self, unit):
        return f"≤ {self.bound:g} {unit}"

    def judge(self, results):
        return estimate(_values(results, OURS)), self.bound


@dataclass(frozen=True)
class AtMostOf:
    peer: str
    bound: float

    def text(self, _):
        return f"≤ {self.bound:.2f} × {NAMES[self.peer]}"

    def judge(self, results):
        return ratio(results, self.peer), self.bound


@dataclass(frozen=True)
class AtMostOfBest:
    bound: float

    def text(self, _):
        return f"≤ {self.bound:.2f} × the better"

    def judge(self, results):
        best = best_peer(results)
        return (ratio(results, best) if best else None), self.bound


@dataclass(frozen=True)
class AtMostMoreThan:
    """In points over the peer's value of the same round."""

    peer: str
    bound: float

    def text(self, _):
        return f"≤ {NAMES[self.peer]} + {self.bound:g} points"

    def judge(self, results):
        return estimate(paired(results.get(OURS, ()), results.get(self.peer, ()), lambda a, b: a - b)), self.bound


def verdict(target, results):
    """In words. Only an interval that lies wholly on one side decides."""
    found, bound = target.judge(results)
    if found is None:
        return "not measured"
    shown = f"{found.median:.2f}"
    if found.count == 1:
        return f"open: {shown} in one round"
    if found.high <= bound:
        return f"met: {shown}"
    if found.low > bound:
        return f"**not met**: {shown}"
    return f"open: {shown}, interval {found.low:.2f} to {found.high:.2f}"
