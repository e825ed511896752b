"""Paired runs: the order of the windows, which of them count, and the interval around the median of their ratios."""

import random
import statistics

RESAMPLES = 10_000
# A window that was disturbed is repeated this often before its pair is given up.
REPEATS_MAX = 2

STEAL_MAX = 0.01
FOREIGN_MAX = 0.03
LAG_P99_US_MAX = 10
LOG_LOSS_MAX = 0.001


def abba(pairs: int) -> list[str]:
    """The order of the windows: ours, rival, rival, ours, and again."""
    order = []
    for pair in range(pairs):
        order += ["base", "rival"] if pair % 2 == 0 else ["rival", "base"]
    return order


def disturbances(window: dict) -> list[str]:
    """Why a window does not count; empty if it does."""
    found = []
    if window["failed"]:
        found.append(f"{window['failed']} failed requests {window['faults']}")
    if window["requests"] == 0:
        found.append("no request was answered")
    if window["log_loss"] > LOG_LOSS_MAX:
        found.append(f"{window['log_loss']:.1%} of the log lines are missing")
    if window["steal"] > STEAL_MAX:
        found.append(f"steal {window['steal']:.1%}")
    if window["foreign"] > FOREIGN_MAX:
        found.append(f"others used {window['foreign']:.1%} of the proxy's CPU")
    lag = window.get("lag_us")
    if lag and lag["p99"] > LAG_P99_US_MAX:
        found.append(f"send lag p99 {lag['p99']} us")
    return found


def undisturbed(measure) -> dict:
    """Measures until a window counts, or gives up and returns the last with its disturbances."""
    discarded = []
    for _ in range(1 + REPEATS_MAX):
        window = measure()
        window["disturbances"] = disturbances(window)
        window["discarded"] = list(discarded)
        if not window["disturbances"]:
            break
        discarded.append(window["disturbances"])
    return window


def compare(base: list[dict], rival: list[dict], value) -> dict:
    """The median of rival / base over the pairs, with a bootstrap interval; higher is better for the base."""
    pairs = [(ours, theirs) for ours, theirs in zip(base, rival) if value(ours) and value(theirs)]
    clean = [pair for pair in pairs if not any(window["disturbances"] for window in pair)]
    # With most pairs disturbed, the figure is shown all the same, and marked.
    quiet = len(clean) * 2 >= len(pairs) and bool(clean)
    ratios = [value(theirs) / value(ours) for ours, theirs in (clean if quiet else pairs)]
    if not ratios:
        return {"ratio": None, "low": None, "high": None, "pairs": 0, "quiet": False}
    low, high = interval(ratios)
    return {"ratio": statistics.median(ratios), "low": low, "high": high, "pairs": len(ratios), "quiet": quiet}


def interval(ratios: list[float]) -> tuple[float, float]:
    """The bootstrap 95 % interval of the median; the seed is fixed, so the same data give the same interval."""
    source = random.Random(1)
    medians = sorted(statistics.median(source.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    return medians[int(RESAMPLES * 0.025)], medians[int(RESAMPLES * 0.975) - 1]
