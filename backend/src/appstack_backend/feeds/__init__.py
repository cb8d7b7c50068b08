"""Reading supplier files: bytes in, checked rows out. Pure: no IO, no clock; memory bounded whatever comes in."""
