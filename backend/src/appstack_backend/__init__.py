"""The reference backend: a product catalogue that shows how every part of an AppStack is meant to be used."""

__version__ = "0.1.0"
