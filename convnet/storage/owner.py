"""The process that writes in a folder, as its lock names it, and whether it has ended."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

MOST_BYTES = 4096  # of a lock's file
ROOT_NAMESPACE = "pid:[4026531836]"  # of every Linux kernel outside containers


@dataclass(frozen=True)
class Owner:
    """A process that writes in a folder. What is not known is empty, or 0."""

    pid: int = 0
    host: str = ""
    since: str = ""
    machine: str = ""
    boot: str = ""
    namespace: str = ""  # of process numbers: each container has its own
    start: int = 0  # of the process, in ticks after the machine's: numbers are used again
    token: str = ""

    @classmethod
    def myself(cls) -> Self:
        """Return this process, with a token of its own."""
        namespace = ""
        with contextlib.suppress(OSError):
            namespace = str(Path("/proc/self/ns/pid").readlink())
        return cls(
            pid=os.getpid(),
            host=socket.gethostname(),
            since=time.strftime("%Y-%m-%d %H:%M:%S"),
            machine=_first_word("/etc/machine-id"),
            boot=_first_word("/proc/sys/kernel/random/boot_id"),
            namespace=namespace,
            start=_start_of(os.getpid()),
            token=secrets.token_hex(8),
        )

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return the owner that a file names; ``None`` if it names none, as after a kill before it was written."""
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe would be waited for
            with os.fdopen(descriptor, "rb") as file:
                said = json.loads(file.read(MOST_BYTES) or b"")
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(said, dict):
            return None
        kinds = {field.name: type(getattr(cls, field.name)) for field in fields(cls)}
        return cls(**{name: value for name, value in said.items() if type(value) is kinds.get(name)})

    def text(self) -> str:
        """Return what the file of its lock says."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def is_gone(self, me: Owner) -> bool | None:
        """Return whether the process has ended; ``None`` where that cannot be told from here."""
        same_kernel = self.boot == me.boot if self.boot or me.boot else self.host == me.host
        if not same_kernel:
            restarted = self.machine == me.machine != "" and self.host == me.host
            return True if restarted and self.namespace == me.namespace == ROOT_NAMESPACE else None
        if self.namespace != me.namespace or os.name != "posix":
            return None
        if self.pid <= 0:
            return True
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):
            return True
        except PermissionError:
            pass  # it lives, as another user's
        return self.start != _start_of(self.pid)

    def __str__(self) -> str:
        """Return ``process 12 on HOST, since 2026-11-27 10:00:00``; control characters of the file are left out."""
        host, since = ("".join(c for c in text[:80] if c.isprintable()) for text in (self.host, self.since))
        return f"process {self.pid} on {host}, since {since}"


def _first_word(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()[:64]
    except OSError:
        return ""


def _start_of(pid: int) -> int:
    """Return when a process started, in ticks after the machine; 0 where that is not known."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0
