"""What the environment switches off (docs/environment.md)."""

import os

from convnet.errors import BackendError

SWITCHES = ("CONVNET_BRANCHES", "CONVNET_GRAPHS", "CONVNET_NCCL")


def is_position(value: str) -> bool:
    """Return whether a switch can have this value: 0, 1, or nothing."""
    return value in ("", "0", "1")


def is_off(variable: str) -> bool:
    """Return whether an environment variable is 0, where it may also be 1; raises ``BackendError`` for anything else."""
    value = os.environ.get(variable, "")
    if not is_position(value):
        raise BackendError(f"{variable}={value} is not 0 or 1")
    return value == "0"
