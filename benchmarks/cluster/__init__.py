"""Cluster: what a shared store costs between real servers, what one Valkey carries, and what that means at scale.

A mock stamps every token; node A produces, node B reads, both `headrace serve` on one Valkey; a third node with the
store in memory is the comparison. Then Valkey alone, under the commands that producers send. All processes are on this
machine and share its cores, on the loopback; it takes five minutes and ends by itself.

    scripts/bench cluster [--rounds 3] [--seconds 4] [--only hops,fanout,capacity] [--save]

`programs` are the processes, `load` the streams and their readers, `measure` what a window of time took, `capacity`
Valkey alone, `spread` a figure over several rounds, `scale` the arithmetic, `page` the text.
"""
