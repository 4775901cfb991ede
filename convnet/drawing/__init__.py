"""Pictures: of graphs (SVG, PNG, PDF, a page, Graphviz), and of checkpoints (filters, curves, predictions, maps)."""
