"""Routes: HTTP requests to engine calls, and back."""
