"""A program on a terminal of its own, and what stands on that terminal in the end: rows that know \\r, \\b, and ESC [K."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_CODES = re.compile(r"\x1b\[(\d*)([A-Za-z])")


def rows(text: str, columns: int) -> list[str]:
    """The rows of a terminal after ``text``, from the first; a row that is full goes on in the next."""
    screen, y, x, at = [[]], 0, 0, 0
    while at < len(text):
        code, char = _CODES.match(text, at), text[at]
        at = code.end() if code else at + 1
        if code:
            assert code[0] == "\x1b[K" or code[2] == "m", f"a code that is not expected: {code[0]!r}"
            del screen[y][x if code[2] == "K" else len(screen[y]) :]
        elif char == "\r":
            x = 0
        elif char == "\b":
            x = max(0, x - 1)
        elif char == "\n":
            screen, y = [*screen, []] if y + 1 == len(screen) else screen, y + 1
        else:
            if x == columns:
                screen, y, x = [*screen, []] if y + 1 == len(screen) else screen, y + 1, 0
            screen[y][x:x] = [" "] * (x - len(screen[y]))
            screen[y][x : x + 1] = char
            x += 1
    return ["".join(row).rstrip() for row in screen]


def run(
    words: Sequence[object],
    cwd: Path,
    columns: int = 80,
    watch: Callable[[str, "Terminal"], None] | None = None,
    **more: str,
) -> tuple[int, str]:
    """``convnet WORDS`` on a terminal ``columns`` wide: its status and all it wrote; ``watch`` sees what it has written."""
    command = [sys.executable, "-m", "convnet", *map(str, words)]
    return Terminal(command, cwd, columns, {"PYTHONPATH": str(ROOT)} | more).finish(watch)


class Terminal:
    """A program and its terminal."""

    def __init__(self, command: Sequence[str], cwd: Path, columns: int, environment: dict[str, str]) -> None:
        self.control, device = pty.openpty()
        self.resize(columns)
        values = os.environ | {"TERM": "xterm"} | environment
        self.process = subprocess.Popen(
            command, stdin=device, stdout=device, stderr=device, cwd=cwd, env=values, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(device)

    def resize(self, columns: int) -> None:
        """Make the terminal that wide."""
        fcntl.ioctl(self.control, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def interrupt(self) -> None:
        """Type Ctrl-C, which the terminal shows as ^C."""
        os.write(self.control, b"\x03")

    def finish(self, watch: Callable[[str, "Terminal"], None] | None) -> tuple[int, str]:
        """Read until the program ends; kill it after two minutes without a word."""
        written = b""
        while select.select([self.control], [], [], 120)[0]:
            part = b""
            with contextlib.suppress(OSError):  # EIO, once nobody holds the other end
                part = os.read(self.control, 65536)
            if not part:
                break
            written += part
            if watch:
                watch(written.decode("utf-8", "replace"), self)
        else:
            self.process.send_signal(signal.SIGKILL)
        status = self.process.wait()  # before its terminal is gone, which would end what is just ending
        os.close(self.control)
        return status, written.decode("utf-8")
