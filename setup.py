"""Builds the cpu backend's kernels, once per instruction set.

Everything else about the package stands in pyproject.toml. The compiled modules are also copied beside their sources,
so that ``python -m convnet.run`` works in a checkout, where the folder ``convnet`` hides an installed package.
"""

import platform
import re
import shutil
import sys
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

CPU = "convnet/backends/cpu/"
ISA_FLAGS = {
    "isa_avx2.c": ["-mavx2", "-mfma"],
    "isa_avx512.c": ["-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw", "-mfma"],
}
X86 = platform.machine().lower() in ("x86_64", "amd64")
KERNELS = ["isa_baseline.c", *(ISA_FLAGS if X86 else ()), "scratch.c", "select.c"]
# No -march: the baseline of the platform, so that a wheel runs anywhere; select.c picks the kernels at run time.
COMPILE = ["-O3", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
OPENMP = [] if sys.platform == "darwin" else ["-fopenmp"]

COMPILER_NEEDED = (
    "convnet is compiled where it is installed: that takes a C compiler and Python's headers "
    "(Debian, Ubuntu: apt install build-essential python3-dev; macOS: xcode-select --install)"
)

# Folders at the top level that are installed inside the package.
FOLDERS = {"convnet.layers_cfg": "layers-cfg", "convnet.cuda": "cuda"}
FOLDERS = {package: folder for package, folder in FOLDERS.items() if Path(folder).is_dir()}


def index_page(text: str) -> str:
    """Return the README as a package index can show it, which has none of the files that stand beside it.

    Pictures and links to them become their names, as they stand in the source distribution.
    """
    text = re.sub(r"!\[([^]]*)\]\((?!https?:)([^)]*)\)", r"(Picture in the sources, `\2`: \1.)", text)

    def named(link: re.Match[str]) -> str:
        path = link[2].partition("#")[0]
        return f"`{path}`" if link[1] == path else f"{link[1]} (`{path}`)"

    return re.sub(r"\[([^]]*)\]\((?!https?:|#)([^)]*)\)", named, text)


class BuildKernels(build_ext):
    """Compiles each isa_*.c with its own flags, and leaves the modules in the source tree too."""

    def build_extensions(self) -> None:
        compile_one = self.compiler._compile

        def with_flags(obj, src, ext, cc_args, extra_postargs, pp_opts):
            flags = ISA_FLAGS.get(Path(src).name, [])
            compile_one(obj, src, ext, cc_args, [*extra_postargs, *flags], pp_opts)

        self.compiler._compile = with_flags
        try:
            super().build_extensions()
        except (CompileError, OSError) as error:
            raise SystemExit(f"error: {error}\n{COMPILER_NEEDED}") from None

    def run(self) -> None:
        super().run()
        if self.inplace:
            return
        for extension in self.extensions:
            built = Path(self.get_ext_fullpath(extension.name))
            beside = Path(__file__).resolve().parent.joinpath(*extension.name.split(".")).with_name(built.name)
            try:
                shutil.copy2(built, beside)
            except OSError as error:
                print(f"note: {beside} not written ({error}); run from another folder than the checkout's root")


EXTENSIONS = [
    Extension(
        "convnet.backends.cpu._kernels",
        [CPU + "_kernels.pyx", *(CPU + name for name in KERNELS)],
        include_dirs=[CPU, numpy.get_include()],
        depends=[str(path) for pattern in ("*.c", "*.h") for path in Path(CPU).glob(pattern) if path.name != "_kernels.c"],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        extra_compile_args=[*COMPILE, *OPENMP],
        extra_link_args=OPENMP,
    ),
]

if __name__ == "__main__":
    setup(
        long_description=index_page(Path("README.md").read_text(encoding="utf-8")),
        long_description_content_type="text/markdown",
        ext_modules=cythonize(EXTENSIONS, language_level=3),
        cmdclass={"build_ext": BuildKernels},
        packages=[str(p.parent).replace("/", ".") for p in sorted(Path("convnet").rglob("__init__.py"))] + list(FOLDERS),
        package_dir=FOLDERS,
        include_package_data=False,
        package_data={"": ["*.css", "*.js"], "convnet": ["py.typed"]}
        | {package: ["*.cfg", "*.cu", "*.cuh", "*.toml"] for package in FOLDERS},
    )
