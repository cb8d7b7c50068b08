"""The worker: takes messages, does what they ask, and answers for each one exactly once."""
