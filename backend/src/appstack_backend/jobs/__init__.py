"""Scheduled jobs: each may run twice at once, and again at any time."""
