"""Benchmarks of the backend: each compares with a baseline measured in the same run, on the same servers."""
