"""What is measured: each scenario turns a contestant, or a pair of them, into figures."""

import statistics
import subprocess
import time
from dataclasses import dataclass

import machine
from contestants import BACKEND, BACKEND_H2, BACKEND_SOCKET, CONTESTANTS, H1, H2, H2C, LEAF, TARGET, TLS, Contestant, Running
from drive import Load
from paired import LOG_LOSS_MAX, Tolerance, abba, compare, undisturbed

CONNECTIONS = 64
SHORT_REQUESTS = 10
SATURATION_WINDOWS = 9
IDLE_CONNECTIONS = 5_000
IDLE_TLS_CONNECTIONS = 2_000
# HTTP/2: few connections that carry many requests at once.
H2_WORK = {"connections": 8, "streams": 16}
HANDSHAKE_CONNECTIONS = 32
# Tidegate's own upstream, by what else it may be.
UPSTREAM = f'endpoints: ["{BACKEND}"]'
UPSTREAMS = {
    "unix": (UPSTREAM, f'endpoints: ["unix:{BACKEND_SOCKET}"]'),
    "h2-upstream": (UPSTREAM, f'endpoints: ["{BACKEND_H2}"]\n    protocol: h2'),
}
# What each contestant shows it can do in `--smoke`: what is spoken, and the words of the client's command.
SMOKE = {
    "keepalive": (H1, {"connections": CONNECTIONS}),
    "tls": (TLS, {"connections": CONNECTIONS}),
    "handshake": (TLS, {"connections": HANDSHAKE_CONNECTIONS, "handshakes": "full"}),
    "resumed": (TLS, {"connections": HANDSHAKE_CONNECTIONS, "handshakes": "resumed"}),
    "h2": (H2, H2_WORK),
    "h2c": (H2C, H2_WORK),
}
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

    def prove(self, running: Running, protocol: str = H1) -> None:
        """Makes the contestant show that it does the agreed work, on both of its sides."""
        running.verify(self.request, protocol)
        running.verify_upstream(self.request, self.load.ask("seen"))

    def window(self, running: Running, command: str, protocol: str = H1, **words) -> dict:
        """Loads a started contestant once, and returns what was seen."""
        pids = ",".join(map(str, running.pids()))
        window = self.load.ask(
            command, self.warmup + self.seconds, target=running.address(protocol), pids=pids, warmup=self.warmup,
            seconds=self.seconds, **secured(protocol), **words,
        )
        # Nobody logs a handshake.
        running.answered += 0 if "handshakes" in words else window["total"]
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

    def alone(self, contestant: Contestant, command: str, protocol: str = H1, **words) -> dict:
        """One window of a contestant by itself, its log counted."""
        with self.start(contestant) as running:
            self.prove(running, protocol)
            window = self.window(running, command, protocol, **words)
        return window | {"contestant": contestant.name, "log_loss": running.log_loss()}

    def round(self, base: Contestant, rival: Contestant, command: str, protocol: str = H1, **words) -> list[dict]:
        """Starts both afresh and measures them in turn; the one whose turn it is not only sleeps."""
        with self.start(base) as ours, self.start(rival) as theirs:
            sides = {"base": ours, "rival": theirs}
            for running in sides.values():
                self.prove(running, protocol)
            pairs = [
                {side: undisturbed(lambda: self.window(sides[side], command, protocol, **words), self.tolerance)
                 for side in order}
                for order in abba(self.pairs)
            ]
        for side, running in sides.items():
            mark_lost_lines([pair[side] for pair in pairs], running.log_loss())
        return pairs


def secured(protocol: str) -> dict:
    """The words that have the client speak TLS: the certificate it is to see."""
    return {"tls": LEAF} if protocol in (TLS, H2) else {}


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


def tls(bench: Bench, base: Contestant, rival: Contestant) -> dict:
    """Closed loop over keep-alive connections of TLS 1.3."""
    return paired(bench, base, rival, {"cpu": cpu}, "closed", TLS, connections=CONNECTIONS)


def handshake(bench: Bench, base: Contestant, rival: Contestant) -> dict:
    """Full handshakes of TLS 1.3, one after the other on every place."""
    return paired(bench, base, rival, {"cpu": cpu}, "closed", TLS, connections=HANDSHAKE_CONNECTIONS, handshakes="full")


def resumed(bench: Bench, base: Contestant, rival: Contestant) -> dict:
    """The same with the ticket of the connection before."""
    words = {"connections": HANDSHAKE_CONNECTIONS, "handshakes": "resumed"}
    return paired(bench, base, rival, {"cpu": cpu}, "closed", TLS, **words)


def h2(bench: Bench, base: Contestant, rival: Contestant) -> dict:
    """HTTP/2 over TLS 1.3."""
    return paired(bench, base, rival, {"cpu": cpu}, "closed", H2, **H2_WORK)


def h2c(bench: Bench, base: Contestant, rival: Contestant) -> dict:
    """HTTP/2 in plain text, by prior knowledge."""
    return paired(bench, base, rival, {"cpu": cpu}, "closed", H2C, **H2_WORK)


def open_loop(bench: Bench, base: Contestant, rival: Contestant, rate: float) -> dict:
    """The same absolute rate for all, latency from the intended instant."""
    values = {"cpu": cpu, **LATENCIES}
    return paired(bench, base, rival, values, "open", connections=CONNECTIONS, rate=f"{rate:.1f}")


def paired(
    bench: Bench, base: Contestant, rival: Contestant, values: dict, command: str, protocol: str = H1, **words
) -> dict:
    rounds = [bench.round(base, rival, command, protocol, **words) for _ in range(bench.rounds)]
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
            run = bench.load.ask("closed", 4, target=running.address(), connections=connections, warmup=1, seconds=3)
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


def idle(bench: Bench, contestant: Contestant, connections: int, protocol: str = H1) -> dict:
    """Memory of connections that were used once and then stay open."""
    with bench.start(contestant) as running:
        bench.prove(running, protocol)
        where = {"target": running.address(protocol), **secured(protocol)}
        bench.load.ask("closed", 2, connections=CONNECTIONS, warmup=0, seconds=1, **where)
        time.sleep(0.5)
        before = machine.memory(running.pids())
        opened = bench.load.ask("idle", connections=connections, **where)
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
