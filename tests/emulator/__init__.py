"""A device that is no device: runs the kernels of ``cuda/`` on the processor, to test them where no GPU is."""

from emulator.device import EmulatedDevice, EmulationError, as_tf32
from emulator.streams import LanedDevice

__all__ = ["EmulatedDevice", "EmulationError", "LanedDevice", "as_tf32"]
