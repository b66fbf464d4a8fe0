"""Observers of the engine: numbers for Prometheus, one log line per stream."""
