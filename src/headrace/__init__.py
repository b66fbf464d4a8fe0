"""Headrace, the streaming layer between language models and the people who read them."""

__version__ = "0.1.0"
