"""What the children of a stack should look like. Pure: no IO, no clock, no randomness."""
