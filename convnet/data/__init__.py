"""Batches of cases: reading, decoding, cropping, packing, and making them. Knows nothing of nets."""
