"""Small servers of our own, to compare with: what a tutorial shows, and what the language itself costs."""
