"""Stores: what a token costs from its append to a live reader, in memory and through Valkey, and what Valkey has to do.

No HTTP and no model server: streams of single-token records at an even pace, with one follower each. The store in
memory and the one in Valkey with the follower on the same node and on another one are measured in turns, several
times, in processes of their own; Valkey is another process, on a unix socket. Loopback only; it ends by itself.

    scripts/bench stores [--streams 100] [--rate 50] [--seconds 6] [--times 3] [--save]
"""
