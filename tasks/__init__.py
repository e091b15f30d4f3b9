"""What is retried: plan, worker pool, and one task for each step of a take."""
