"""Exports: writing the catalogue to a file in the database, and streaming it."""
