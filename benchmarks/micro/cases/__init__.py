"""What is measured: modules of cases, each a table `CASES` of names and functions.

Such a function makes ready and returns a round: a function without arguments that does some events and says how many,
the same number every time. Both may be asynchronous. The first line of its docstring says what an event is.

Every tree brings its own cases, so they may follow its API; that is all that two revisions must agree on. A module that
does not fit the API of a tree is left out there as a whole, so they are small.
"""

MODULES = ("sse", "framing", "chat", "views", "log", "broadcast", "requests", "counting", "observing")
