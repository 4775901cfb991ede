"""Why a net runs: layers with randomness or views behave differently in each pass (numerics 16.6)."""

from enum import Enum


class Mode(Enum):
    """TRAIN and TEST; GRADCHECK (deterministic, no 1/N); FEATURE (as TEST, for reading a layer's output);
    VIEW (one of several views of the same cases, averaged by whoever asked); INPUTS (as TEST, for gradients at the data)."""

    TRAIN = "train"
    TEST = "test"
    GRADCHECK = "gradcheck"
    FEATURE = "feature"
    VIEW = "view"
    INPUTS = "inputs"

    @property
    def goes_back(self) -> bool:
        """Whether a backward pass follows, which reads the outputs of layers."""
        return self in (Mode.TRAIN, Mode.GRADCHECK, Mode.INPUTS)
