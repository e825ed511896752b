"""The load process, from this side: driven by lines, answered in JSON."""

import json
import os
import select
import subprocess
from pathlib import Path

import machine

# Above every run's own length: opening, draining and sorting.
GRACE_SECONDS = 75


class Load:
    """Backend and client in one process, up for the whole comparison; leaving the `with` block ends it."""

    def __init__(self, binary: Path, places: list[str], cpu: int, niceness: int):
        command = ["taskset", "-c", str(cpu), str(binary), *places]
        # A session of its own is what the scheduler groups by.
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        machine.favour(self.process.pid, niceness)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(10)

    def ask(self, name: str, patience: float = 0, /, **words) -> dict:
        """Gives one command and waits for its answer, `patience` and some grace at most."""
        line = " ".join([name, *(f"{key}={value}" for key, value in words.items())])
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        answer = json.loads(self._line(patience + GRACE_SECONDS))
        if "error" in answer:
            raise RuntimeError(f"load process, {line!r}: {answer['error']}")
        return answer

    def _line(self, seconds: float) -> bytes:
        """One line of output. Nothing is buffered in between, as one answer follows one command."""
        text = b""
        descriptor = self.process.stdout.fileno()
        while not text.endswith(b"\n"):
            ready, _, _ = select.select([descriptor], [], [], seconds)
            chunk = os.read(descriptor, 65536) if ready else b""
            if not chunk:
                raise RuntimeError("the load process does not answer")
            text += chunk
        return text
