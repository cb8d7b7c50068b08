"""`make up`: from a bare machine to a running stack with a demo import, on the lab, on kind or on any cluster."""
