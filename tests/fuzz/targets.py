"""What is fuzzed: each target mutates something genuine and gives it to the readers and to what comes behind them."""

from fuzz.batches import BatchBytes, Batches, Targets
from fuzz.checkpoints import (
    FIXTURES,
    CheckpointBytes,
    CheckpointTree,
    OldCheckpointBytes,
    OriginalBytes,
    OriginalTree,
    Pickles,
    Runs,
)
from fuzz.inspection import InspectedBytes, InspectedValues, VerifiedBatches
from fuzz.pictures import CraftedPictures, Pictures
from fuzz.target import Target
from fuzz.texts import LayerTexts, TomlTexts, Trained

_ALL: list[type[Target]] = [
    *(Pickles, CheckpointBytes, OldCheckpointBytes, CheckpointTree, OriginalTree, OriginalBytes, Runs),
    *(Batches, BatchBytes, Targets, Pictures, CraftedPictures),
    *(LayerTexts, TomlTexts, Trained),
    *(InspectedBytes, InspectedValues, VerifiedBatches),
]
TARGETS = {t.name: t for t in _ALL if FIXTURES.is_dir() or not t.name.startswith("original")}
