"""convnet: Alex Krizhevsky's cuda-convnet, the engine behind AlexNet (2012), in Python."""

__version__ = "0.1.0"
