"""What each type of layer is: keys, shape rule, checks, forward and backward in terms of ops. No arrays, no device.

``LAYER_TYPES`` has them by name. A new type is one class in a file of this folder and one entry here.
"""

from __future__ import annotations

from convnet.layers.base import Layer
from convnet.layers.conv import Conv
from convnet.layers.cost import (
    BinomialCrossEntropy,
    CrossEntropy,
    CrossEntropy2,
    DetectionCrossEntropy,
    GatedSumOfSquares,
    LogReg,
    MultiSoftmax,
    RobustFlickr,
    SumOfSquares,
    Tica,
)
from convnet.layers.data import Data
from convnet.layers.dropout import Dropout, Dropout2, HiddenSex
from convnet.layers.eltwise import Concat, ElementwiseMax, ElementwiseSum, PassThrough
from convnet.layers.fc import FullyConnected, SplitFullyConnected, TreeFullyConnected
from convnet.layers.image import Blur, Crop, NailBed, RandomScale, Reflect, Resize, RgbToLab, RgbToYuv, Sum
from convnet.layers.local import Local
from convnet.layers.neuron import NeuronLayer
from convnet.layers.norm import ContrastNorm, CrossMapNorm, ResponseNorm
from convnet.layers.pool import CrossMapPool, Pool
from convnet.layers.softmax import Softmax

LAYER_TYPES: dict[str, type[Layer]] = {
    layer.type: layer
    for layer in (
        Data, Conv, Local, FullyConnected, SplitFullyConnected, TreeFullyConnected,
        Pool, CrossMapPool, CrossMapNorm, ResponseNorm, ContrastNorm, NeuronLayer, Softmax,
        Dropout, Dropout2, HiddenSex, ElementwiseSum, ElementwiseMax, Concat, PassThrough, Sum,
        Blur, NailBed, Resize, RandomScale, Crop, Reflect, RgbToYuv, RgbToLab,
        LogReg, CrossEntropy, CrossEntropy2, BinomialCrossEntropy, DetectionCrossEntropy,
        SumOfSquares, GatedSumOfSquares, RobustFlickr, Tica, MultiSoftmax,
    )
}  # fmt: skip

__all__ = ["LAYER_TYPES", "Layer"]
