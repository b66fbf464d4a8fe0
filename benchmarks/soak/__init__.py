"""Soak: 500 streams at a time with faults, cuts and stalls, for ten minutes; nothing lost, nothing leaked.

A real `headrace serve` in front of a real `headrace mock`, on the loopback, bounded in count and time. Every stream is
drawn from the seed and its number: an answer, a fault of the upstream, readers that are cut, stall, come late or never
come back, and what is done to it. Each reader is held against an uninterrupted read afterwards, each log against what
the upstream was told to send, and both processes against what they held before.

`plan` draws, with `answers` and `faults`; `life` lets a stream happen, `reader` reads it, over `wire`, in `views`;
`checks` and `comparison` judge it; `run` starts the `servers` and is the whole, `verdict` judges that; `meters`,
`ledger`, `result` and `report` are the figures.
"""
