"""From what was seen to verdicts: one ordered chain of small checks per component. Pure."""
