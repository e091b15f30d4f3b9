"""What happened, and telling it: the ledger and the morning report."""
