"""NCCL on one card: a communicator of one rank begins, sends to itself in groups, and ends; how fast, and what of it fails.

python benchmarks/card/nccl_alone.py
"""

from __future__ import annotations

import sys
import time

import numpy as np
from runner import NOT_HERE

from convnet.backends import make_backend
from convnet.errors import BackendError
from convnet.ranks.communicator import Solo
from convnet.ranks.nccl import Nccl, load_nccl, version_of_library

LENGTHS = 1, 4099, 16 << 20  # floats
TIMES = 10


def main() -> int:
    try:
        version = version_of_library(load_nccl())
        be = make_backend("cuda")
    except BackendError as error:
        print(f"{NOT_HERE}{error}")
        return 0
    began = time.perf_counter()
    carrier = Nccl(be.device, Solo())
    print(f"NCCL {version} begins in {time.perf_counter() - began:.2f} s", flush=True)
    wrong = 0
    for length in LENGTHS:
        values = np.arange(length, dtype=np.float32)
        x, out, whole = be.upload(values), be.zeros((length + 4,)), be.zeros((length,))
        for start in (4, 1):  # at a multiple of 16 bytes, and not
            be.fill(out, -1.0)
            target = out[start : start + length]
            pending = [carrier.move([(x, 0), (x, 0)], [(target, 0), (whole, 0)]), carrier.share([whole])]
            for one in pending:
                one.wait()
            found = be.download(out)
            alike = np.array_equal(found[start : start + length], values) and np.array_equal(be.download(whole), values)
            wrong += not alike or found[0] != -1
            began = time.perf_counter()
            for _ in range(TIMES):
                carrier.move([(x, 0)], [(target, 0)]).wait()
            be.sync()
            spent = (time.perf_counter() - began) / TIMES
            print(f"{length} floats at {4 * start} bytes: {'ok' if alike else 'WRONG'}, {spent * 1e6:.0f} us", flush=True)
    began = time.perf_counter()
    carrier.close()
    print(f"{'all as sent' if not wrong else f'{wrong} WRONG'}; ends in {time.perf_counter() - began:.2f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
