"""A load tester for streaming endpoints of language models: what their readers see, measured at the socket.

It needs no server of Headrace's, and knows none. `plan` is what to do, `run` does it, `measurement` holds what was
seen, `result` says it. Bytes become times in `exchange`, without a socket; `connection` has the sockets. docs/bench.md
is the description for people.
"""
