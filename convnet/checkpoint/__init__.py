"""Checkpoints: the net, the run's position and its history in one pickled dict, close to the originals' (io section 4)."""

from convnet.checkpoint.checkpoint import Checkpoint, load
from convnet.checkpoint.container import write_as
from convnet.checkpoint.convert import Converted, convert
from convnet.checkpoint.files import BEST, CheckpointFolder, find_latest, is_own, new_folder, write_checkpoint
from convnet.checkpoint.foreign import Foreign
from convnet.checkpoint.formats import Format, format_for
from convnet.checkpoint.position import Position, add_costs
from convnet.checkpoint.saving import arithmetic_of, checkpoint_bytes, pack, restore_streams

__all__ = [
    "BEST",
    "Checkpoint",
    "CheckpointFolder",
    "Converted",
    "Foreign",
    "Format",
    "Position",
    "add_costs",
    "arithmetic_of",
    "checkpoint_bytes",
    "convert",
    "find_latest",
    "format_for",
    "is_own",
    "load",
    "new_folder",
    "pack",
    "restore_streams",
    "write_as",
    "write_checkpoint",
]
