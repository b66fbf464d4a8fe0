"""Events to events or to one value, synchronously."""
