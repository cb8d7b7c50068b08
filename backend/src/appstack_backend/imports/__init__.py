"""Imports: receiving a feed, and applying its chunks to the catalogue."""
