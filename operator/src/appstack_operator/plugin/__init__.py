"""kubectl appstack: what a change would do, and how a stack is. It reads; it never writes."""
