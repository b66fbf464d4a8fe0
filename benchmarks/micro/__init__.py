"""Micro: what each part of a token's way costs, compared with another revision so that a tenth more is seen.

Absolute figures drift by a quarter between two runs on a busy machine. So both trees run the same cases in short
processes that take turns, A B B A and so on, and what counts is the ratio within a pair. A case is flagged when its
ratio is beyond half the threshold for sure: a cost that grew by the threshold, 10 %, is then seen as soon as the
interval is narrower than that, and chance alone flags nothing. A case whose interval is too wide for either answer is
measured again with as many pairs, and is "unclear" if that does not help.

    scripts/bench micro                        what everything costs here
    scripts/bench micro --against main --fail  compared; exit code 1 when something is slower
    scripts/bench micro --self-test            sees a tenth more where there is one, and nowhere else

`--instructions` counts instead of timing, with valgrind: repeatable whatever else the machine does, but blind to caches
and to the kernel's part.

`cases` is what is measured. `worker` measures in a process of its own, by a meter of `meters`; `trees` are what it
runs, `pairing` is who runs when, `verdict` the statistics, `report` the tables.
"""
