"""The environment variables of this program (docs/environment.md), so that a misspelt one is not taken for set."""

from collections.abc import Mapping

from convnet.backends.switches import SWITCHES, is_position
from convnet.texts import did_you_mean

VARIABLES = (
    *SWITCHES,
    "CONVNET_CACHE_DIR",
    "CONVNET_CPU",
    "CONVNET_INITW",
    "CONVNET_EMULATOR",
    "CONVNET_MUSEUM",
    "CONVNET_ORIGINALS",
    "CONVNET_PYTHON2",
)


def idle_variables(environment: Mapping[str, str]) -> list[str]:
    """Return a line for each variable of ours that changes nothing: an unknown one, or a switch that is neither 0 nor 1."""
    lines = [
        f"environment variable {name} is not one of convnet's" + did_you_mean(name, VARIABLES)
        for name in sorted(environment)
        if name.startswith("CONVNET_") and name not in VARIABLES
    ]
    return lines + [
        f"{name}={environment[name]} has no effect; 0 disables what it is for"
        for name in SWITCHES
        if not is_position(environment.get(name, ""))
    ]
