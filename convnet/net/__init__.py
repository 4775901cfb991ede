"""A graph on backends: arrays, passes, training steps, weights, and the devices they lie on."""
