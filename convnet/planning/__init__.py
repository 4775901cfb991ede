"""What a step costs on many ranks: arithmetic, bytes over links and waiting, worked out from a graph's own counts."""
