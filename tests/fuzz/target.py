"""What all targets of the fuzzers share."""

import random
from pathlib import Path

from convnet.backends.cpu import Cpu

BE = Cpu(threads=1)


class Target:
    """Something to mutate and to read; ``case`` does so once."""

    name = ""
    number = 0  # of the case under way

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def case(self, rng: random.Random, clean: bool = False) -> None:
        raise NotImplementedError
