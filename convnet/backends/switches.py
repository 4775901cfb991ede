"""What the environment switches off (docs/environment.md)."""

import os

from convnet.errors import BackendError


def is_off(variable: str) -> bool:
    """Return whether an environment variable is 0, where it may also be 1; raises ``BackendError`` for anything else."""
    value = os.environ.get(variable, "")
    if value not in ("", "0", "1"):
        raise BackendError(f"{variable}={value} is not 0 or 1")
    return value == "0"
