"""A document as one HTML page that needs nothing else: no script, no font, no network."""

from headrace.bench.report.page import page

__all__ = ["page"]
