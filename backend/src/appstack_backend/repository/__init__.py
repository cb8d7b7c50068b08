"""All SQL of the backend, one module per subject; nothing here decides."""
