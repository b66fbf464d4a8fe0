"""Steps: the longest time that the server's event loop is held, while large bodies and long logs pass through it.

A `headrace serve` process whose loop is watched from inside (`watch`), in front of a real `headrace mock`. While curl
makes one large request after the other, some streams trickle; how late their tokens come is told too. Loopback only;
it ends by itself.

    scripts/bench steps [--megabytes 30] [--tokens 100000] [--trickles 5] [--times 3] [CASE ...]
"""
