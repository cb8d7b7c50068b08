"""The keepers beside Redis and Sentinel: who may start as master, who is newest, who carries the label."""
