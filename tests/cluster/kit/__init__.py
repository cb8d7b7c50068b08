"""What cluster tests are written with: kubectl with JSON, a stack under test, a client of its API."""
