"""Pieces of layer files that nets of many tests begin and end with."""

DATA = "\n[data]\ntype=data\ndataIdx=0\n[labels]\ntype=data\ndataIdx=1\n"


def cost_of(layer: str) -> str:
    """Return the softmax of a layer and its cost."""
    return f"[probs]\ntype=softmax\ninputs={layer}\n[logprob]\ntype=cost.logreg\ninputs=labels,probs\n"
