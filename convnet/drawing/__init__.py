"""Pictures of graphs: where boxes stand (layout), and as SVG, as a page, or in the language of Graphviz."""
