"""Runs of one process that are killed, and what they come to."""

import numpy as np

from convnet import checkpoint
from convnet.checkpoint import CheckpointFolder


class Killed(BaseException):
    """What stands for kill -9 in tests of one process: nothing is saved, and nothing said."""


def state_of(save):
    path, loaded, remarks = checkpoint.find_latest(save, checkpoint.load)
    assert not remarks
    state, own = loaded["model_state"], loaded.own
    learned = ("weights", "weightsInc", "biases", "biasesInc")
    arrays = [layer[key] for layer in loaded.layers.values() for key in learned if key in layer]
    arrays = [np.asarray(part).tobytes() for item in arrays for part in (item if isinstance(item, list | tuple) else [item])]
    return path.name, arrays, repr([state["train_outputs"], state["test_outputs"], own["position"], own["noise_state"]])


def fail_to_save(monkeypatch, place, error):
    """Have the checkpoint of (epoch, batch) ``place`` raise ``error``."""
    original = CheckpointFolder.save

    def failing(folder, value, epoch, batch):
        if (epoch, batch) == place:
            raise error
        return original(folder, value, epoch, batch)

    monkeypatch.setattr(CheckpointFolder, "save", failing)
