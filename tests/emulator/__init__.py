"""An emulated device: runs the kernels of ``cuda/`` on the processor, to test them where no GPU is."""

from emulator.device import EmulatedDevice, EmulationError, as_tf32
from emulator.streams import LazyStreams

__all__ = ["EmulatedDevice", "EmulationError", "LazyStreams", "as_tf32"]
