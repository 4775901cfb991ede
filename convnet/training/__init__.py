"""What a run does: open what its options name, train, test, save, print."""
