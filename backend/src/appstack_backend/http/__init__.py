"""HTTP: routes, who may use them, and what a failure looks like."""
