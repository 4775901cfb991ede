"""Builds the wheels that a machine with a card needs and does not have; needs the package index, g++ and the card's Python.

    python benchmarks/card/prepare.py --python 3.12 --cuda 13 --out .card

Takes some four minutes the first time, seconds later. PyCUDA comes as source, and is built once, against the headers of
CUDA and an empty libcuda of the driver's name: what it calls is looked up where it runs. convnet is built whenever its
sources have changed. nvmath-python, nccl4py and cuda-core come as they are. Left out is what a machine with PyTorch for CUDA
has: numpy, cuda-bindings, NVRTC, cuBLAS, NCCL, pytest, Pillow.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST = 60 << 20  # bytes of all wheels
PYCUDA = "2026.1"
AS_THEY_ARE = ("nvmath-python==1.0.0", "nccl4py==0.6.0", "cuda-core==1.2.2", "cuda-pathfinder==1.9.1")
# What the rest of PyCUDA imports besides its driver.
PURE = (
    "pytools==2026.1.1", "mako==1.4.3", "MarkupSafe==3.0.4", "platformdirs==4.14.8", "siphash24==1.9",
    "typing-extensions==4.16.0",
)  # fmt: skip
# Of the oldest release of a generation of CUDA whose headers are packages, so that any driver of it will do.
HEADERS = {
    13: [f"nvidia-cuda-{name}==13.0.*" for name in ("runtime", "profiler-api", "crt")],
    12: [f"nvidia-cuda-{name}-cu12==12.8.*" for name in ("runtime", "profiler-api", "nvcc")],
}
SITECONF = """
CUDA_ENABLE_CURAND = False
CUDA_INC_DIR = {headers!r}
CUDADRV_LIB_DIR = [{stub!r}]
CUDART_LIB_DIR = []
"""
WITHOUT_LOCATIONS = {"SOURCE_DATE_EPOCH": "1600000000", "PYTHONDONTWRITEBYTECODE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
TREES = ("convnet", "cuda", "layers-cfg")
SOURCES = "sources.txt"  # beside the wheels: of which sources that of convnet is
KINDS = (".py", ".pyx", ".pxd", ".c", ".h", ".cu", ".cuh", ".cfg", ".toml")


def find_python(version: str) -> str:
    """Return an interpreter of ``version``, such as 3.12, or that at a path; raises ``SystemExit`` where there is none."""
    if os.sep in version:
        if not shutil.which(version):
            raise refusal(f"no Python at {version}: there is no program of that name")
        return os.path.abspath(version)  # noqa: PTH100, which would follow the link of a virtual environment
    if f"{sys.version_info.major}.{sys.version_info.minor}" == version:
        return sys.executable
    ours = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = sorted(ours.glob(f"{version}.*/bin/python{version}"), key=lambda path: len(path.parts[-3]))
    for candidate in [shutil.which(f"python{version}"), *map(str, found)]:
        if candidate and subprocess.run([candidate, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
            return candidate
    raise refusal(f"no Python {version} here: not on the PATH, not one of pyenv's; --python takes a path, too")


def tag_of(python: str) -> str:
    """Return cp312 for an interpreter of Python 3.12."""
    asked = [python, "-c", "import sys; print('cp%d%d' % sys.version_info[:2])"]
    said = subprocess.run(asked, check=False, capture_output=True, text=True).stdout.strip()
    if not said.startswith("cp"):
        raise refusal(f"{python} is no Python")
    return said


def refusal(problem: str) -> SystemExit:
    """Print why nothing is begun; returns what to raise."""
    print(problem, file=sys.stderr)
    return SystemExit(2)


def take(folder: Path) -> int:
    """Make a folder that can be written to, and lock it while this process runs; raises ``SystemExit`` where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(0, "it is not writable")
        lock = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise refusal(f"nothing can be written to the folder {folder}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise refusal(f"another run is at work in {folder}") from None
    return lock


def environment(python: str, folder: Path) -> Path:
    """Return the interpreter of a virtual environment that builds wheels; made if need be."""
    own = folder / "venv" / "bin" / "python"
    if not (folder / "venv" / "ready").is_file():
        call(python, "-m", "venv", "--clear", str(folder / "venv"))
        call(str(own), "-m", "pip", "install", "--quiet", "setuptools>=77", "wheel", "Cython>=3.1", "numpy>=2", "packaging")
        (folder / "venv" / "ready").touch()
    return own


def pycuda(own: Path, generation: int, folder: Path, wheels: Path) -> None:
    """Build PyCUDA, unless its wheel is there already."""
    name = f"pycuda-{PYCUDA}-cu{generation}"
    if not list((folder / name).glob("*.whl")):
        work = folder / "pycuda"
        shutil.rmtree(work, ignore_errors=True)
        stub, headers = work / "stub", work / "headers"
        stub.mkdir(parents=True)
        (stub / "empty.c").write_text("")
        compiler = os.environ.get("CC", "gcc")
        call(compiler, "-shared", "-o", str(stub / "libcuda.so"), "-Wl,-soname,libcuda.so.1", str(stub / "empty.c"))
        _pip(own, "install", "--no-deps", "--target", str(headers), *HEADERS[generation])
        included = [str(path) for path in sorted(headers.glob("nvidia/*/include"))]
        source = [f"pycuda=={PYCUDA}", "--no-deps", "--no-build-isolation", "--no-binary", "pycuda"]
        _pip(own, "download", *source, "--dest", str(work))
        shutil.unpack_archive(next(work.glob("pycuda-*.tar.gz")), work)
        tree = next(path for path in work.glob("pycuda-*") if path.is_dir())
        (tree / "siteconf.py").write_text(SITECONF.format(headers=included, stub=str(stub)))
        # The stub has no symbol: the linker must name it all the same, for the loader to look there.
        flags = {"LDFLAGS": "-Wl,--no-as-needed -Wl,-s", "CFLAGS": "-g0", "CXXFLAGS": "-O1 -g0"}
        build(own, tree, folder / name, **flags)
    for wheel in (folder / name).glob("*.whl"):
        shutil.copy2(wheel, wheels)


def build(own: Path, tree: Path, built: Path, **flags: str) -> None:
    """Build the wheel of ``tree``; the folder ``built`` appears with all of it."""
    new = built.with_name("new")
    shutil.rmtree(new, ignore_errors=True)
    # --no-build-isolation: what builds it is in the environment already.
    _pip(own, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(new), str(tree), **flags)
    new.rename(built)


def convnet(own: Path, folder: Path, wheels: Path) -> str:
    """Build convnet from a copy of its sources, unless a wheel of the same sources is there; returns their digest."""
    digest = digest_of_sources()
    built = folder / f"convnet-{digest[:16]}"
    if not list(built.glob("*.whl")):
        for old in folder.glob("convnet-*"):
            shutil.rmtree(old)
        tree = folder / "convnet-tree"
        shutil.rmtree(tree, ignore_errors=True)  # of a run that was interrupted
        for path in source_files():
            copy = tree / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
        flags = {"CFLAGS": f"-g0 -ffile-prefix-map={tree}=.", "LDFLAGS": "-Wl,-s"}  # the same wheel in any folder
        build(own, tree, built, **flags)
        shutil.rmtree(tree)
    for wheel in built.glob("*.whl"):
        shutil.copy2(wheel, wheels)
    return digest


def source_files() -> list[Path]:
    """Return what convnet is built from."""
    found = (path for tree in TREES for path in (ROOT / tree).rglob("*"))
    files = [path for path in found if path.suffix in KINDS and path.name != "_kernels.c"]
    top = ["setup.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE"]
    return sorted([*files, *(ROOT / name for name in top), ROOT / "convnet" / "py.typed"])


def digest_of_sources() -> str:
    """Return a number that changes with any of them."""
    text = b"\0".join(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() for path in source_files())
    return hashlib.sha256(text).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default="3.12", help="version of the card's Python, or the path of one like it")
    parser.add_argument("--cuda", type=int, choices=sorted(HEADERS), default=13, help="generation of CUDA")
    parser.add_argument("--out", type=Path, default=ROOT / ".card", help="folder for the wheels; older ones are removed")
    parser.add_argument("--work", type=Path, help="folder for what is built, and used again; one below build/")
    args = parser.parse_args()
    python = find_python(args.python)
    folder = (args.work or ROOT / "build" / f"card-{tag_of(python)}").resolve()
    locks = [take(folder), take(args.out)]
    for old in [*args.out.glob("*.whl"), args.out / SOURCES]:
        old.unlink(missing_ok=True)
    print(f"a virtual environment of {python}", flush=True)
    own = environment(python, folder)
    print("convnet", flush=True)
    digest = convnet(own, folder, args.out)
    print(f"PyCUDA {PYCUDA}: two minutes and more, unless it is built already", flush=True)
    pycuda(own, args.cuda, folder, args.out)
    print(", ".join((*AS_THEY_ARE, *PURE)), flush=True)
    as_they_are(own, folder, args.out)
    (args.out / SOURCES).write_text(digest)  # last: without it go.py says that wheels may be missing
    report(args.out)
    for lock in locks:
        os.close(lock)


def as_they_are(own: Path, folder: Path, wheels: Path) -> None:
    """Download what is not built here, unless it is there already; other versions of an earlier run are left behind."""
    kept, chosen = folder / "as-they-are", folder / "as-they-are-now"
    shutil.rmtree(chosen, ignore_errors=True)
    plain = ["--no-deps", "--only-binary", ":all:", "--find-links", str(kept), "--dest", str(chosen)]
    kept.mkdir(exist_ok=True)
    _pip(own, "download", *plain, *AS_THEY_ARE, *PURE)
    for wheel in chosen.glob("*.whl"):
        shutil.copy2(wheel, wheels)
    shutil.rmtree(kept)
    chosen.rename(kept)


def report(out: Path) -> None:
    """Print the sizes and the command for the card's machine; raises ``SystemExit`` where the wheels are too large."""
    wheels = sorted(out.glob("*.whl"))
    for wheel in wheels:
        print(f"{wheel.stat().st_size / 1e6:8.2f} MB  {wheel.name}")
    total = sum(wheel.stat().st_size for wheel in wheels)
    print(f"{total / 1e6:8.2f} MB  in {out}")
    if total > MOST:
        raise SystemExit(f"{total} bytes of wheels are more than {MOST}")
    folder = os.path.relpath(out, ROOT) if out.resolve().is_relative_to(ROOT) else str(out)
    command = f"python3 benchmarks/card/go.py --wheels {shlex.quote(folder)} --out results"
    ignored = " (git ignores it)" if out.resolve() == ROOT / ".card" else ""
    print(f"\nOn the card's machine, in the root of a copy of this project with {folder}{ignored} in it:\n")
    print(f"    {command}")


def _pip(own: Path, *arguments: str, **flags: str) -> None:
    quiet = ["--quiet", "--quiet"]
    call(str(own), "-m", "pip", arguments[0], *quiet, *arguments[1:], **flags)


def call(*command: str, **flags: str) -> None:
    """Run a command; raises ``SystemExit`` with the end of what it said where it fails. Nothing of it outlives this."""
    environment = {**os.environ, **WITHOUT_LOCATIONS, **flags}
    try:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
    except OSError as error:
        raise SystemExit(f"{command[0]} cannot be started: {error.strerror}") from None
    try:
        printed, _ = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)  # pip, and the compiler that it runs
        process.communicate()
        raise
    if process.returncode:
        said = printed.decode(errors="replace").strip()
        raise SystemExit(f"{' '.join(command)}\nended with {process.returncode}:\n{said[-4000:]}")


def interrupted(*_: object) -> None:
    raise SystemExit("interrupted; what is finished is kept for the next time")


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)  # ends what runs, too
    main()
