"""The options of a run, declared once: for the command line, for files, for checkpoints, for the listing."""

from convnet.options.files import read_config, read_section
from convnet.options.kinds import FROM_ZERO, MOST, NATURAL, SEED, SHARE, ZERO_ONE, Kind, choice, text, whole, whole_numbers
from convnet.options.options import (
    BY_NAME,
    CHECK,
    FEATURES,
    GROUPS,
    IGNORED,
    MODES,
    OPTIONS,
    TEST,
    TRAIN,
    USUAL,
    Option,
    Options,
    flag_of,
)

__all__ = [
    "BY_NAME",
    "CHECK",
    "FEATURES",
    "FROM_ZERO",
    "GROUPS",
    "IGNORED",
    "MODES",
    "MOST",
    "NATURAL",
    "OPTIONS",
    "SEED",
    "SHARE",
    "TEST",
    "TRAIN",
    "USUAL",
    "ZERO_ONE",
    "Kind",
    "Option",
    "Options",
    "choice",
    "flag_of",
    "read_config",
    "read_section",
    "text",
    "whole",
    "whole_numbers",
]
