"""Paired runs: the order of the windows, which of them count, and the interval around the median of their ratios."""

import random
import statistics
from dataclasses import dataclass

RESAMPLES = 5_000
ROUNDS_MIN = 3
# A window that was disturbed is repeated this often before its pair is given up.
REPEATS_MAX = 2

OVERLOAD = "cannot keep the rate"

STEAL_MAX = 0.01
# Requests that found all connections busy, in an open loop.
QUEUED_MAX = 0.5
LOG_LOSS_MAX = 0.001


@dataclass(frozen=True)
class Tolerance:
    """What a busy machine may do to a window that still counts."""

    # The share of the proxy's CPU that others use.
    foreign: float
    # The 99th percentile of how late an open-loop client sends.
    lag_us: float


def abba(pairs: int) -> list[tuple[str, str]]:
    """The order of the windows, pair by pair: ours, rival, rival, ours, and again."""
    return [("base", "rival") if pair % 2 == 0 else ("rival", "base") for pair in range(pairs)]


def disturbances(window: dict, tolerance: Tolerance) -> list[str]:
    """Why a window does not count; empty if it does."""
    found = []
    if window["failed"]:
        found.append(f"{window['failed']} failed requests {window['faults']}")
    if window["requests"] == 0:
        found.append("no request was answered")
    if window["steal"] > STEAL_MAX:
        found.append(f"steal {window['steal']:.1%}")
    if window["foreign"] > tolerance.foreign:
        found.append(f"others used {window['foreign']:.1%} of the proxy's CPU")
    if window.get("queued", 0) > window["requests"] * QUEUED_MAX:
        return [*found, OVERLOAD]
    lag = window.get("lag_us")
    if lag and lag["p99"] > tolerance.lag_us:
        found.append(f"send lag p99 {lag['p99']} us")
    return found


def undisturbed(measure, tolerance: Tolerance) -> dict:
    """Measures until a window counts, or gives up and returns the last with its disturbances."""
    discarded = []
    for _ in range(1 + REPEATS_MAX):
        window = measure()
        window["disturbances"] = disturbances(window, tolerance)
        window["discarded"] = list(discarded)
        # Overload is the proxy's own doing and will not go away.
        if not window["disturbances"] or OVERLOAD in window["disturbances"]:
            break
        discarded.append(window["disturbances"])
    return window


def compare(rounds: list[list[dict]], value) -> dict:
    """The median of rival / base over the pairs of all rounds, with its interval; higher is better for the base."""
    complete = [[pair for pair in pairs if value(pair["base"]) and value(pair["rival"])] for pairs in rounds]
    clean = [[pair for pair in pairs if not disturbed(pair)] for pairs in complete]
    # With most pairs disturbed, the figure is shown all the same, and marked.
    quiet = sum(map(len, clean)) * 2 >= sum(map(len, rounds)) > 0
    counted = [pairs for pairs in (clean if quiet else complete) if pairs]
    ratios = [[value(pair["rival"]) / value(pair["base"]) for pair in pairs] for pairs in counted]
    if not ratios:
        return {"ratio": None, "low": None, "high": None, "pairs": 0, "quiet": False}
    low, high = interval(ratios)
    together = [ratio for each in ratios for ratio in each]
    return {"ratio": statistics.median(together), "low": low, "high": high, "pairs": len(together), "quiet": quiet}


def disturbed(pair: dict) -> bool:
    return bool(pair["base"]["disturbances"] or pair["rival"]["disturbances"])


def interval(rounds: list[list[float]]) -> tuple[float | None, float | None]:
    """The bootstrap 95 % interval of the median.

    Whole rounds are drawn, because the windows of one round share their processes and are not independent. The seed is
    fixed, so the same data give the same interval. Too few rounds have none.
    """
    if len(rounds) < ROUNDS_MIN:
        return None, None
    source = random.Random(1)
    draws = (source.choices(rounds, k=len(rounds)) for _ in range(RESAMPLES))
    medians = sorted(statistics.median([ratio for each in draw for ratio in each]) for draw in draws)
    return medians[int(RESAMPLES * 0.025)], medians[int(RESAMPLES * 0.975) - 1]
