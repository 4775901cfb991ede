"""Making batches: where pictures come from, which are for testing, what is written, and how a killed call goes on."""
