"""What is measured: each scenario turns a contestant, or a pair of them, into figures."""

import statistics
import subprocess
import time
from dataclasses import dataclass

import machine
from contestants import CONTESTANTS, TARGET, Contestant, Running
from drive import Load
from paired import LOG_LOSS_MAX, Tolerance, abba, compare, undisturbed

CONNECTIONS = 64
SHORT_REQUESTS = 10
SATURATION_WINDOWS = 9
IDLE_CONNECTIONS = 5_000
STRACE_SECONDS_MAX = 30


@dataclass
class Bench:
    """Everything a scenario needs; one per run."""

    load: Load
    proxy_cpu: int
    niceness: int
    rounds: int
    pairs: int
    seconds: float
    warmup: float
    tolerance: Tolerance
    request: bytes

    def start(self, contestant: Contestant) -> Running:
        return Running(contestant, self.proxy_cpu, self.niceness)

    def prove(self, running: Running) -> None:
        """Makes the contestant show that it does the agreed work, on both of its sides."""
        running.verify(self.request)
        running.verify_upstream(self.request, self.load.ask("seen")["head"])

    def window(self, running: Running, command: str, **words) -> dict:
        """Loads a started contestant once, and returns what was seen."""
        pids = ",".join(map(str, running.pids()))
        window = self.load.ask(
            command, self.warmup + self.seconds, target=running.address, pids=pids, warmup=self.warmup,
            seconds=self.seconds, **words,
        )
        running.answered += window["total"]
        return self.refine(window)

    def refine(self, window: dict) -> dict:
        """Turns raw counters into the figures of the report."""
        samples = window.pop("machine")
        wall = window["wall_ns"] / 1e9
        own, everything = machine.busy(samples, self.proxy_cpu), machine.busy(samples)
        proxy, load = window["proxy_cpu_ns"] / 1e9, window["load_work_ns"] / 1e9
        requests = max(window["requests"], 1)
        return window | {
            "cpu_us": proxy * 1e6 / requests,
            "both_cpu_us": (proxy + load) * 1e6 / requests,
            "rate": window["requests"] / wall,
            "proxy_utilisation": proxy / wall,
            "load_utilisation": load / wall,
            "steal": everything["steal"] / max(everything["total"], 0.01),
            "foreign": max(0.0, (own["work"] - proxy) / wall),
        }

    def alone(self, contestant: Contestant, command: str, **words) -> dict:
        """One window of a contestant by itself, its log counted."""
        with self.start(contestant) as running:
            self.prove(running)
            window = self.window(running, command, **words)
        return window | {"contestant": contestant.name, "log_loss": running.log_loss()}

    def round(self, base: Contestant, rival: Contestant, command: str, **words) -> list[dict]:
        """Starts both afresh and measures them in turn; the one whose turn it is not only sleeps."""
        with self.start(base) as ours, self.start(rival) as theirs:
            sides = {"base": ours, "rival": theirs}
            for running in sides.values():
                self.prove(running)
            pairs = [
                {side: undisturbed(lambda: self.window(sides[side], command, **words), self.tolerance)
                 for side in order}
                for order in abba(self.pairs)
            ]
        for side, running in sides.items():
            mark_lost_lines([pair[side] for pair in pairs], running.log_loss())
        return pairs


def mark_lost_lines(windows: list[dict], loss: float) -> None:
    """A contestant that drops log lines has not done the work of the round."""
    for window in windows:
        window["log_loss"] = loss
        if loss > LOG_LOSS_MAX:
            window["disturbances"].append(f"{loss:.1%} of the log lines are missing")


def cpu(window: dict) -> float:
    return window["cpu_us"]


def latency(quantile: str):
    return lambda window: (window["latency_us"] or {}).get(quantile)


LATENCIES = {quantile: latency(quantile) for quantile in ("p50", "p99", "p999")}


def keepalive(bench: Bench, base: Contestant, rival: Contestant) -> dict:
    """Closed loop over keep-alive connections: the acceptance figure."""
    return paired(bench, base, rival, {"cpu": cpu}, "closed", connections=CONNECTIONS)


def short(bench: Bench, base: Contestant, rival: Contestant) -> dict:
    """Closed loop over connections that end after ten requests."""
    words = {"connections": CONNECTIONS, "requests_per_connection": SHORT_REQUESTS}
    return paired(bench, base, rival, {"cpu": cpu}, "closed", **words)


def single(bench: Bench, base: Contestant, rival: Contestant) -> dict:
    """One connection, one request at a time: no batching helps anyone."""
    return paired(bench, base, rival, {"cpu": cpu, **LATENCIES}, "closed", connections=1)


def open_loop(bench: Bench, base: Contestant, rival: Contestant, rate: float) -> dict:
    """The same absolute rate for all, latency from the intended instant."""
    values = {"cpu": cpu, **LATENCIES}
    return paired(bench, base, rival, values, "open", connections=CONNECTIONS, rate=f"{rate:.1f}")


def paired(bench: Bench, base: Contestant, rival: Contestant, values: dict, command: str, **words) -> dict:
    rounds = [bench.round(base, rival, command, **words) for _ in range(bench.rounds)]
    ratios = {name: compare(rounds, value) for name, value in values.items()}
    return {"base": base.name, "rival": rival.name, "ratios": ratios, "rounds": rounds}


def saturation(bench: Bench) -> float:
    """Requests per second of nginx at saturation: the yardstick of the open loop."""
    with bench.start(CONTESTANTS["nginx"]) as running:
        windows = [
            undisturbed(lambda: bench.window(running, "closed", connections=CONNECTIONS), bench.tolerance)
            for _ in range(SATURATION_WINDOWS)
        ]
    return statistics.median(window["rate"] for window in windows)


def syscalls(bench: Bench, contestant: Contestant, connections: int) -> dict:
    """System calls per request, counted by strace while it is attached to the whole tree.

    Tracing slows the proxy, so the counts are meant and the times are not.
    """
    summary = TARGET / "strace.txt"
    with bench.start(contestant) as running:
        bench.prove(running)
        targets = [word for pid in running.pids() for word in ("-p", str(pid))]
        tracer = subprocess.Popen(["strace", "-c", "-f", "-o", str(summary), *targets], stderr=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            run = bench.load.ask("closed", 4, target=running.address, connections=connections, warmup=1, seconds=3)
        finally:
            tracer.send_signal(subprocess.signal.SIGINT)
            tracer.wait(STRACE_SECONDS_MAX)
    calls = parse_strace(summary.read_text())
    per_request = {name: count / max(run["total"], 1) for name, count in calls.items()}
    return {
        "contestant": contestant.name,
        "connections": connections,
        "requests": run["total"],
        "failed": run["failed"],
        "per_request": sum(per_request.values()),
        "enters_per_request": per_request.get("io_uring_enter", 0.0),
        "calls": {name: round(value, 4) for name, value in per_request.items() if value >= 0.001},
    }


def parse_strace(text: str) -> dict:
    """Calls by name: the fourth and the last column of strace's summary."""
    rows = [line.split() for line in text.splitlines()]
    counted = [row for row in rows if len(row) >= 5 and row[0][0].isdigit() and row[3].isdigit()]
    return {row[-1]: int(row[3]) for row in counted if row[-1] != "total"}


def idle(bench: Bench, contestant: Contestant, connections: int) -> dict:
    """Memory of connections that were used once and then stay open."""
    with bench.start(contestant) as running:
        bench.prove(running)
        bench.load.ask("closed", 2, target=running.address, connections=CONNECTIONS, warmup=0, seconds=1)
        time.sleep(0.5)
        before = machine.memory(running.pids())
        opened = bench.load.ask("idle", target=running.address, connections=connections)
        time.sleep(1)
        after = machine.memory(running.pids())
        released = bench.load.ask("release")
    return {
        "contestant": contestant.name,
        "connections": connections,
        "failed": opened["failed"] + connections - opened["answered"] + released["closed_by_peer"],
        "user_bytes": (after["user"] - before["user"]) / connections,
        "slab_bytes": (after["slab"] - before["slab"]) / connections,
        "user_before": before["user"],
    }
