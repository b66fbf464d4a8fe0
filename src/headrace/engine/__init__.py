"""The live part: the only owner of tasks."""
