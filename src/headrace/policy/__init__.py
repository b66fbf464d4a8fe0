"""Pure rules: who may, and what a leaving reader means."""
