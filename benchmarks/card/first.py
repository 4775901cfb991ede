"""The first step: what ``convnet doctor`` finds, a convolution on the card against the processor, and the card's clocks.

Exit status 1 where the card does not run, so that the summary says it at once.
"""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np

from convnet.backends import make_backend
from convnet.backends.arguments import Geometry
from convnet.backends.base import Backend
from convnet.cli.doctor import examine

ASKED = "name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit,temperature.gpu,memory.used"


def convolution(be: Backend) -> np.ndarray:
    """Return the maps of a small convolution with more filters and cases than a tile has."""
    random = np.random.RandomState(1)
    images, weights = (be.upload(random.randn(*shape).astype(np.float32)) for shape in ((8, 9, 9, 130), (8, 3, 3, 70)))
    maps = be.zeros((70, 9, 9, 130))
    be.conv_forward(images, weights, maps, geometry=Geometry(1, 1))
    return be.download(maps)


def main() -> int:
    backend, findings = examine()
    for what, text in findings:
        print(f"{what}: {text}", flush=True)
    if backend != "cuda":
        return 1
    if shutil.which("nvidia-smi"):
        asked = ["nvidia-smi", f"--query-gpu={ASKED}", "--format=csv"]
        print(subprocess.run(asked, capture_output=True, text=True, timeout=20, check=False).stdout.strip(), flush=True)
    expected = convolution(make_backend("cpu"))
    for math, allowed in (("float32", 1e-5), ("tf32", 5e-3)):
        found = convolution(make_backend("cuda", math=math))
        error = float(np.abs(found - expected).max() / np.abs(expected).max())
        print(f"a convolution in {math}: {error:.1e} from the processor's, {allowed:.0e} allowed")
        if not error <= allowed:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
