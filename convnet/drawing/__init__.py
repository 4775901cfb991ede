"""Pictures: of graphs (SVG, a page, Graphviz), and of checkpoints (filters, curves, predictions, maps)."""
