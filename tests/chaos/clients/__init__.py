"""The load: each client is a process of its own that does one operation after the other and writes its history."""
