"""Real servers and processes for the tests of the backend."""
