"""A graph on backends: arrays, passes, steps, weights, and where they lie."""
