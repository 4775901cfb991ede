"""From kernel text to machine code: NVRTC where it is installed, else nvcc; cached on disk.

NVRTC (``pip install '.[cuda]'``) needs neither a host compiler nor headers and is ten times faster than nvcc. The
cache is keyed by text, options, compiler and architecture; files appear by renaming, so concurrent runs never read an
incomplete one. ``CONVNET_CACHE_DIR`` moves it.
"""

import hashlib
import os
import re
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from shutil import which

from convnet.backends.cuda.source import Source
from convnet.errors import BackendError, first_line
from convnet.storage import cache_folder, write_atomically

OPTIONS = ("-std=c++17",)
_DIGEST = hashlib.sha256().digest_size  # bytes at the end of a cached file


class Compiler(ABC):
    """Turns text into a cubin, or PTX where the compiler does not know the architecture."""

    version = ""
    generation = 0  # of CUDA: 13 for 13.5
    architectures: tuple[int, ...] = ()  # compute capabilities it knows, such as 90

    @abstractmethod
    def compile(self, text: str, name: str, target: str) -> bytes:
        """Machine code for ``sm_NN`` or PTX for ``compute_NN``; raises ``BackendError`` with the compiler's messages."""

    def target(self, capability: int) -> str:
        """Choose the target for a device: its own architecture if known, else PTX of the newest older one."""
        if capability in self.architectures:
            return f"sm_{capability}"
        older = [known for known in self.architectures if known < capability]
        if not self.architectures:
            raise BackendError(f"{self.version} does not say for which devices it compiles; pip install '.[cuda]'")
        if not older:
            oldest = min(self.architectures)
            raise BackendError(
                f"{self.version} knows devices from sm_{oldest} on, not sm_{capability}; use an older CUDA toolkit"
            )
        return f"compute_{max(older)}"


class Nvrtc(Compiler):
    """NVIDIA's run-time compiler through cuda-bindings; needs no driver."""

    def __init__(self) -> None:
        from cuda.bindings import nvrtc

        self.api = nvrtc
        major, minor = self._check(nvrtc.nvrtcVersion())
        self.version, self.generation = f"NVRTC {major}.{minor}", major
        count = self._check(nvrtc.nvrtcGetNumSupportedArchs())[0]
        self.architectures = tuple(self._check(nvrtc.nvrtcGetSupportedArchs())[0][:count])

    def compile(self, text: str, name: str, target: str) -> bytes:
        api = self.api
        program = self._check(api.nvrtcCreateProgram(text.encode(), name.encode(), 0, [], []))[0]
        options = [*(option.encode() for option in OPTIONS), f"-arch={target}".encode()]
        status = api.nvrtcCompileProgram(program, len(options), options)[0]
        if status != api.nvrtcResult.NVRTC_SUCCESS:
            log = b" " * self._check(api.nvrtcGetProgramLogSize(program))[0]
            api.nvrtcGetProgramLog(program, log)
            raise BackendError(log.decode(errors="replace").strip("\0 \n"))
        kind = "CUBIN" if target.startswith("sm_") else "PTX"
        code = b" " * self._check(getattr(api, f"nvrtcGet{kind}Size")(program))[0]
        self._check(getattr(api, f"nvrtcGet{kind}")(program, code))
        api.nvrtcDestroyProgram(program)
        return code

    def _check(self, result: tuple) -> tuple:
        if result[0] != self.api.nvrtcResult.NVRTC_SUCCESS:
            raise BackendError(f"NVRTC: {result[0]}")
        return result[1:]


class Nvcc(Compiler):
    """The toolkit's compiler, as a program."""

    def __init__(self, program: str) -> None:
        self.program = program
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        release = re.search(r"release (\d+)[\d.]*", said)
        self.version = "nvcc " + (release[0].split()[1] if release else said.strip())
        self.generation = int(release[1]) if release else 0
        listed = subprocess.run([program, "--list-gpu-arch"], capture_output=True, text=True).stdout
        self.architectures = tuple(int(number) for number in re.findall(r"compute_(\d+)\b", listed))

    def compile(self, text: str, name: str, target: str) -> bytes:
        kind = "--cubin" if target.startswith("sm_") else "--ptx"
        with tempfile.TemporaryDirectory() as folder:
            source, out = Path(folder) / name, Path(folder) / "out"
            source.write_text(text, encoding="utf-8")
            command = [self.program, kind, *OPTIONS, f"-arch={target}", "-o", str(out), str(source)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise BackendError(done.stderr.strip())
            return out.read_bytes()


def toolkit_programs(name: str) -> Iterator[str]:
    """List where a program of a CUDA toolkit may be: on the PATH, then in folders that the environment names."""
    if found := which(name):
        yield found
    yield from (f"{os.environ[variable]}/bin/{name}" for variable in ("CUDA_HOME", "CUDA_PATH") if variable in os.environ)


@cache
def find_compiler() -> Compiler:
    """NVRTC, else nvcc; raises ``BackendError`` saying what to install."""
    try:
        return Nvrtc()
    except Exception as error:  # the bindings raise many kinds where their library is missing
        reason = first_line(error)
    for program in toolkit_programs("nvcc"):
        if Path(program).is_file():
            try:
                return Nvcc(program)
            except (OSError, subprocess.SubprocessError) as error:
                raise BackendError(f"{program} does not run ({first_line(error)}); pip install '.[cuda]'") from None
    raise BackendError(f"no compiler for kernels (NVRTC: {reason}; no nvcc on PATH); pip install '.[cuda]'")


def build(source: Source, capability: int, compiler: Compiler | None = None) -> bytes:
    """Machine code of ``source`` for a device of compute capability ``capability`` (90 for 9.0), from the cache if there."""
    compiler = compiler or find_compiler()
    text, target = source.text(), compiler.target(capability)
    key = hashlib.sha256("\0".join([text, *OPTIONS, compiler.version, target]).encode()).hexdigest()
    path = cache_folder() / "kernels" / f"{Path(source.file).stem}-{target}-{key[:24]}"
    with suppress(OSError):
        cached = path.read_bytes()
        if hashlib.sha256(cached[:-_DIGEST]).digest() == cached[-_DIGEST:]:  # neither cut short nor damaged
            return cached[:-_DIGEST]
    try:
        code = compiler.compile(text, source.file, target)
    except BackendError as error:
        raise BackendError(f"{source.file} does not compile for {target} with {source.constants()}:\n{error}") from None
    with suppress(OSError):  # a folder that cannot be written only costs time
        write_atomically(path, lambda file: file.write(code + hashlib.sha256(code).digest()))
    return code


def compile_all(sources: Iterable[Source], capability: int) -> None:
    """Compile what the cache lacks, in parallel: the compiler releases the interpreter lock. Raises the first error."""
    compiler = find_compiler()
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="convnet-compile") as pool:
        list(pool.map(lambda source: build(source, capability, compiler), sources))
