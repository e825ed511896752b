"""What the machine says about itself and about the processes on it."""

import os
import platform
import resource
import sys
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def describe() -> dict:
    """The facts that belong beside every figure."""
    model = next((l.split(":", 1)[1].strip() for l in _lines("/proc/cpuinfo") if l.startswith("model name")), "unknown")
    vulnerabilities = Path("/sys/devices/system/cpu/vulnerabilities").glob("*")
    return {
        "kernel": platform.release(),
        "cpu": model,
        "cpus": os.cpu_count(),
        "memory_mib": _field("/proc/meminfo", "MemTotal:") // 1024,
        "mitigations": {file.name: file.read_text().strip() for file in vulnerabilities},
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
    }


def busy(samples: list[str], cpu: int | None = None) -> dict:
    """Seconds of work and theft between two copies of `/proc/stat`, of one CPU or of all."""
    before, after = (_cpu_line(sample, cpu) for sample in samples)
    spent = [later - earlier for earlier, later in zip(before, after)]
    idle = spent[3] + spent[4]
    steal = spent[7]
    return {"work": (sum(spent) - idle - steal) / TICK, "steal": steal / TICK, "total": sum(spent) / TICK}


def _cpu_line(sample: str, cpu: int | None) -> list[int]:
    wanted = "cpu" if cpu is None else f"cpu{cpu}"
    for line in sample.split("|"):
        name, *values = line.split()
        if name == wanted:
            # Guest time is contained in user time already.
            return [int(value) for value in values[:8]]
    raise ValueError(f"no {wanted} in /proc/stat")


def memory(pids: list[int]) -> dict:
    """Bytes of user memory (proportional set size) of some processes, and of the kernel's slabs."""
    user = sum(_field(f"/proc/{pid}/smaps_rollup", "Pss:") for pid in pids)
    return {"user": user * 1024, "slab": _field("/proc/meminfo", "Slab:") * 1024}


def favour(pid: int, niceness: int) -> None:
    """Gives a process, and the scheduler's group of its session, precedence over whatever else runs here."""
    if niceness == 0:
        return
    try:
        os.setpriority(os.PRIO_PROCESS, pid, niceness)
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness))
    except OSError as problem:
        print(f"no precedence for process {pid}: {problem}", file=sys.stderr)


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _field(path: str, name: str) -> int:
    return next(int(line.split()[1]) for line in _lines(path) if line.startswith(name))
