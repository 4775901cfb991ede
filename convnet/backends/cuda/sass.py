"""What a kernel's innermost loop issues: its machine code (SASS), disassembled and counted.

nvdisasm comes from the package index (``pip install nvidia-cuda-nvdisasm``) or from a CUDA toolkit. The loop that
matters is the one without another inside that multiplies most; what it issues besides multiply-adds is what can be won.
"""

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from convnet.backends.cuda.compile import toolkit_programs
from convnet.errors import BackendError, first_line

_MULTIPLY_ADDS = ("FFMA", "HMMA")
_SECTION = re.compile(r"^\.text\.(\w+):$")
_LABEL = re.compile(r"^(\.L_\w+):$")
_LINE = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@(!?U?P\w+)\s+)?([A-Z][\w.]*)\s*([^;]*);")
_BRANCH = re.compile(r"\.L_\w+")
# Kinds by the beginning of an opcode; the first that fits counts. HFMA2 with zeros, like MOV, sets a register.
_KINDS = (
    ("FFMA", r"FFMA"),
    ("HMMA", r"HMMA"),
    ("local", r"LDL|STL"),
    ("copies", r"LDGSTS"),
    ("waits", r"DEPBAR|LDGDEPBAR"),
    ("barriers", r"BAR|UCGABAR"),
    ("shared", r"LDS|STS|LDSM|ATOMS"),
    ("global", r"LDG|STG|LD\b|ST\b|RED|ATOMG"),
    ("branches", r"BRA|BRX|BSSY|BSYNC|BREAK|WARPSYNC|CALL|RET|EXIT|JMP"),
    ("float", r"F[A-Z]|MUFU|DFMA|DADD|DMUL|DSETP"),
    ("integer", r""),
)
_KIND = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in _KINDS))


class Instruction(NamedTuple):
    """One instruction; ``target`` is the address of a branch, else -1."""

    address: int
    opcode: str
    operands: str
    predicate: str = ""
    target: int = -1

    @property
    def kind(self) -> str:
        """What it is counted as."""
        found = _KIND.match(self.opcode)
        return (found and found.lastgroup) or "integer"

    @property
    def idle(self) -> bool:
        """Whether it does nothing but take its turn: ptxas places three such reads before each asynchronous copy."""
        return self.predicate in ("!PT", "!UPT") or self.opcode == "NOP"


class Loop(NamedTuple):
    """An innermost loop: instructions from the target of a backward branch up to that branch."""

    body: list[Instruction]

    def count(self, kind: str) -> int:
        """Count the instructions of a kind that an iteration issues; parts that it may skip are included."""
        return self.kinds()[kind]

    def kinds(self) -> Counter[str]:
        """Count instructions by kind; those that do nothing are "idle"."""
        return Counter("idle" if each.idle else each.kind for each in self.body)

    def loads(self) -> Counter[int]:
        """Count reads of shared memory by their width in bits."""
        widths = (_width(each.opcode) for each in self.body if each.opcode.startswith("LDS") and not each.idle)
        return Counter(widths)

    @property
    def multiply_add(self) -> str:
        """The instruction that multiplies and adds: HMMA (tensor cores) where there is any, else FFMA."""
        return "HMMA" if self.count("HMMA") else "FFMA"

    @property
    def share(self) -> float:
        """The share of FFMA or HMMA in what is issued."""
        return self.count(self.multiply_add) / len(self.body)

    def text(self) -> str:
        """Say what an iteration issues: ``1160 instructions: 1024 FFMA (88.3%), 64 LDS.128, ...``."""
        kinds, loads = self.kinds(), self.loads()
        shared = {f"LDS.{bits}": count for bits, count in sorted(loads.items(), reverse=True)}
        stored = {"STS": kinds["shared"] - sum(loads.values())}
        rest = {kind: count for kind, count in kinds.most_common() if kind not in (self.multiply_add, "shared")}
        issued = ", ".join(f"{count} {kind}" for kind, count in (shared | stored | rest).items() if count)
        products = f"{kinds[self.multiply_add]} {self.multiply_add} ({self.share:.1%}), " if self.share else ""
        return f"{len(self.body)} instructions: {products}{issued}"


@cache
def find_disassembler() -> str:
    """Find nvdisasm, that of the package, else of a toolkit; raises ``BackendError`` saying what to install."""
    spec = find_spec("nvidia")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [] if spec else [])]
    packaged = [str(path) for folder in folders for path in sorted(folder.glob("*/bin/nvdisasm*"))]
    for program in (*packaged, *toolkit_programs("nvdisasm")):
        if Path(program).is_file():
            return program
    raise BackendError("no disassembler (nvdisasm) here; pip install nvidia-cuda-nvdisasm")


def listing_of(cubin: bytes) -> str:
    """Disassemble machine code; raises ``BackendError``."""
    if not cubin.startswith(b"\x7fELF"):
        raise BackendError("the compiler gives PTX for this architecture, which cannot be disassembled")
    program = find_disassembler()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        try:
            done = subprocess.run([program, "-c", str(path)], capture_output=True, text=True)
        except OSError as error:
            raise BackendError(f"{program} does not run ({first_line(error)})") from None
    if done.returncode:
        raise BackendError(f"{program} ends with {done.returncode}: {done.stderr.strip()[:200]}")
    return done.stdout


def instructions_of(listing: str, kernel: str) -> list[Instruction]:
    """Parse the instructions of a kernel; raises ``BackendError`` where the listing has none."""
    lines: list[re.Match[str]] = []
    labels: dict[str, int] = {}
    found: list[Instruction] = []
    current = ""
    for line in listing.splitlines():
        if section := _SECTION.match(line):
            current = section[1]
        elif current == kernel and (label := _LABEL.match(line)):
            labels[label[1]] = len(lines)
        elif current == kernel and (match := _LINE.match(line)):
            lines.append(match)
    if not lines:
        raise BackendError(f"no {kernel} in this machine code")
    addresses = [int(match[1], 16) for match in lines]
    for address, match in zip(addresses, lines, strict=True):
        branch = _BRANCH.search(match[4]) if match[3].startswith("BRA") else None
        place = labels.get(branch[0], len(lines)) if branch else len(lines)
        target = addresses[place] if place < len(lines) else -1
        found.append(Instruction(address, match[3], match[4].split("(*")[0].strip(), match[2] or "", target))
    return found


def innermost_loop(instructions: list[Instruction]) -> Loop | None:
    """Find the loop that multiplies most, of those without another such loop inside; None if there is no loop."""

    def worth(loop: Loop) -> tuple[int, int, int]:
        kinds = loop.kinds()
        return sum(kinds[name] for name in _MULTIPLY_ADDS), kinds["float"], -len(loop.body)

    return max(_innermost(instructions), key=worth, default=None)


def _innermost(instructions: list[Instruction]) -> Iterator[Loop]:
    """Yield loops that contain no other one that multiplies; where none does, all that contain no other one.

    The branch to itself after a kernel's end is none.
    """
    spans = {(each.target, each.address) for each in instructions if 0 <= each.target < each.address}
    loops = {span: Loop([each for each in instructions if span[0] <= each.address <= span[1]]) for span in spans}
    multiplies = {span for span, loop in loops.items() if any(loop.count(name) for name in _MULTIPLY_ADDS)}
    for span in multiplies or spans:
        others = (multiplies or spans) - {span}
        if not any(span[0] <= start and end <= span[1] for start, end in others):
            yield loops[span]


def _width(opcode: str) -> int:
    return next((int(part) for part in opcode.split(".") if part in ("64", "128")), 32)
