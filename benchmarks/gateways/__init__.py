"""Gateways: what a streamed token costs on its way through a server: CPU, latency, memory; Headrace and others.

A real `headrace mock` stamps each token with the time at which it was written (`--stamp`); one server hands it on,
alone on core 1; one load client on core 0, with the mock, reads it. Each token must arrive as an event of its own,
once, in order, and each answer with the hash that ends it, or the run has failed. Servers take turns in every round,
so that a machine that changes hits all of them; a run during which other processes used the machine is marked. Linux
only, all on the loopback; every process is ended by its id.

`servers` says how each is installed and started, with the `relays` that are ours; `loads` what is asked of it; `client`
is the process that asks, `run` one measurement, `rounds` all of them; `meters` and `machine` look at the system;
`summary`, `table` and `chart` say what came out.
"""
