"""A run as a page shows it while it trains: served on this machine alone, drawn from the log that the run writes."""
