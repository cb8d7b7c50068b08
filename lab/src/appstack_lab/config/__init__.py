"""Builds the configuration of every component from a cluster. Pure: data in, data or text out."""
