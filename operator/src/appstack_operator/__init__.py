"""The AppStack operator: one level-triggered pass from an AppStack to its objects."""
