"""One subscription to one connection."""
