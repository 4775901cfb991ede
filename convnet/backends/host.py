"""What this machine has: cores, memory for arrays, as far as its system says, and the library of NumPy's products."""

import os
from contextlib import suppress
from pathlib import Path

from threadpoolctl import threadpool_info

_MEMINFO, _GROUP, _PROCESS = Path("/proc/meminfo"), Path("/sys/fs/cgroup"), Path("/proc/self")


def cores() -> int:
    """Return on how many cores this process may run."""
    return len(core_numbers())


def core_numbers() -> set[int]:
    """Return the cores on which this process may run."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def blas_text() -> str:
    """Return ``openblas 0.3.31 for SkylakeX``: the library of NumPy's products, and the processor it has chosen."""
    for library in threadpool_info():
        if library.get("user_api") == "blas":
            words = [library.get("internal_api"), library.get("version"), "for", library.get("architecture")]
            return " ".join(map(str, filter(None, words))).removesuffix(" for")
    return "an unknown BLAS"


def host_memory(meminfo: Path = _MEMINFO, group: Path = _GROUP) -> tuple[int, int] | None:
    """(free, total) bytes of memory and swap space, within the limit of a container; ``None`` where it is not known."""
    try:
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        kib = {name: int(fields[name].split()[0]) for name in ("MemAvailable", "MemTotal", "SwapFree", "SwapTotal")}
    except (OSError, ValueError, KeyError):
        return None
    free, total = (kib["MemAvailable"] + kib["SwapFree"]) << 10, (kib["MemTotal"] + kib["SwapTotal"]) << 10
    limit = _limit(group)
    return (min(free, limit[0]), min(total, limit[1])) if limit else (free, total)


def resident_memory(process: Path = _PROCESS) -> tuple[int, int] | None:
    """(now, at most) bytes of this process that lie in memory; ``None`` where it is not known."""
    try:
        fields = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        now, most = (int(fields[name].split()[0]) << 10 for name in ("VmRSS", "VmHWM"))
    except (OSError, ValueError, KeyError):
        return None
    return now, most


def forget_peak(process: Path = _PROCESS) -> None:
    """Let the most of ``resident_memory`` begin anew, where the system can."""
    with suppress(OSError):
        (process / "clear_refs").write_text("5")


def _limit(group: Path) -> tuple[int, int] | None:
    """(free, total) bytes that a control group allows; pages of files that it can drop count as free."""
    try:
        most, used = int((group / "memory.max").read_text()), int((group / "memory.current").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(most - used + int(stat.get("inactive_file", 0)), 0), most
    except (OSError, ValueError):  # no such group, or "max"
        return None
