"""Several processes that train one net: how they are started, what they tell each other, and what ends them together."""
