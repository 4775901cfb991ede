"""Pages of HTML: a report of a run, and what is watched of one that goes on; nothing in them comes from elsewhere."""
