"""The report of a run: one file that needs no network, no script and nothing else, and opens in twenty years as today."""
