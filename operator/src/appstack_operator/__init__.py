"""The AppStack operator: one level-triggered pass from an AppStack to its objects."""

__version__ = "0.1.0"
