"""Checkpoints: the net, the run's position and its history in one pickled dict, close to the originals' (io section 4)."""

from convnet.checkpoint.files import CheckpointFolder, find_latest, new_folder
from convnet.checkpoint.format import (
    history_of,
    inherited_options,
    layer_files,
    load,
    pack,
    position_of,
    restore_streams,
    stored_option,
    unpack_layers,
)

__all__ = [
    "CheckpointFolder",
    "find_latest",
    "history_of",
    "inherited_options",
    "layer_files",
    "load",
    "new_folder",
    "pack",
    "position_of",
    "restore_streams",
    "stored_option",
    "unpack_layers",
]
