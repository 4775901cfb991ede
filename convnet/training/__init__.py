"""What a run does: opens what its options name, trains, tests, saves, and prints."""
