"""Layer files to a checked graph: wiring, shapes, what a net costs, and files written back. No NumPy."""
