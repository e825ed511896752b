"""The tables on standard output."""

import statistics

from paired import OVERLOAD


def table(title: str, heads: list[str], rows: list[list[str]]) -> None:
    """Prints aligned columns: the first to the left, the rest to the right."""
    print(f"\n{title}")
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    for row in [heads, *rows]:
        cells = [cell.rjust(width) for cell, width in zip(row, widths)]
        cells[0] = row[0].ljust(widths[0])
        print("  " + "  ".join(cells).rstrip())


def middle(windows: list[dict], key) -> float:
    return statistics.median(window[key] for window in windows)


def ratio(comparison: dict) -> str:
    if comparison["ratio"] is None:
        return "none"
    mark = "" if comparison["quiet"] else " noisy"
    if comparison["low"] is None:
        return f"{comparison['ratio']:.2f} (too few rounds){mark}"
    return f"{comparison['ratio']:.2f} [{comparison['low']:.2f}, {comparison['high']:.2f}]{mark}"


def costs(title: str, results: list[dict]) -> None:
    """CPU time per request of the base and its rivals, with the paired ratios."""
    heads = ["contestant", "CPU us/req", "req/s", "proxy CPU", "load CPU", "both us/req", "rival / base, 95 %", "pairs",
             "repeated"]
    rows = []
    for index, result in enumerate(results):
        sides = ("base", "rival") if index == 0 else ("rival",)
        rows += [cost_row(result, side) for side in sides]
    table(title, heads, rows)


def windows_of(result: dict, side: str) -> list[dict]:
    return [pair[side] for pairs in result["rounds"] for pair in pairs]


def cost_row(result: dict, side: str) -> list[str]:
    windows = windows_of(result, side)
    comparison = result["ratios"]["cpu"]
    return [
        result[side],
        f"{middle(windows, 'cpu_us'):.2f}",
        f"{middle(windows, 'rate'):.0f}",
        f"{middle(windows, 'proxy_utilisation'):.0%}",
        f"{middle(windows, 'load_utilisation'):.0%}",
        f"{middle(windows, 'both_cpu_us'):.2f}",
        "1 (base)" if side == "base" else ratio(comparison),
        "" if side == "base" else str(comparison["pairs"]),
        str(sum(len(window["discarded"]) for window in windows)),
    ]


def latencies(title: str, results: list[dict]) -> None:
    """Quantiles of every contestant, and the paired ratios of the rivals'."""
    names = ("p50", "p99", "p999")
    heads = ["contestant", *(f"{name} us" for name in names), *(f"{name} ratio" for name in names), "send lag p99 us"]
    rows = []
    for index, result in enumerate(results):
        sides = ("base", "rival") if index == 0 else ("rival",)
        rows += [latency_row(result, side, names) for side in sides]
    table(title, heads, rows)


def latency_row(result: dict, side: str, names: tuple) -> list[str]:
    windows = [window for window in windows_of(result, side) if window["latency_us"]]
    if any(OVERLOAD in window["disturbances"] for window in windows):
        return [result[side], *("-" for _ in names), *(OVERLOAD for _ in names[:1]), *("-" for _ in names[1:]), "-"]
    values = [statistics.median(window["latency_us"][name] for window in windows) for name in names]
    lags = [window["lag_us"]["p99"] for window in windows if window.get("lag_us")]
    ratios = ["1 (base)" if side == "base" else ratio(result["ratios"][name]) for name in names]
    lag = f"{statistics.median(lags):.1f}" if lags else "-"
    return [result[side], *(f"{value:.1f}" for value in values), *ratios, lag]


def syscalls(results: list[dict]) -> None:
    heads = ["contestant", "connections", "syscalls/req", "io_uring_enter/req", "requests", "most frequent"]
    rows = [
        [r["contestant"], str(r["connections"]), f"{r['per_request']:.3f}", f"{r['enters_per_request']:.3f}",
         str(r["requests"]), ", ".join(f"{name} {count:.2f}" for name, count in list(r["calls"].items())[:4])]
        for r in results
    ]
    table("System calls per request (strace -c -f)", heads, rows)


def idle(title: str, results: list[dict]) -> None:
    heads = ["contestant", "connections", "user B/connection", "slab B/connection", "user MiB before", "failed"]
    rows = [
        [r["contestant"], str(r["connections"]), f"{r['user_bytes']:.0f}", f"{r['slab_bytes']:.0f}",
         f"{r['user_before'] / 2**20:.1f}", str(r["failed"])]
        for r in results
    ]
    table(title, heads, rows)


def smoke(windows: list[dict]) -> None:
    heads = ["contestant", "scenario", "requests", "failed", "log lines lost", "CPU us/req", "p99 us", "upstream connections"]
    rows = [
        [w["contestant"], w["kind"], str(w["requests"]), str(w["failed"]), f"{w['log_loss']:.1%}", f"{w['cpu_us']:.2f}",
         f"{w['latency_us']['p99']:.0f}" if w["latency_us"] else "-", str(w["backend_accepted"])]
        for w in windows
    ]
    table("Smoke: one second each", heads, rows)
