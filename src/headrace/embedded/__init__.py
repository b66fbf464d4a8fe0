"""The embedded model: whether it is installed, how llama.cpp opens it, and llama.cpp's own server as a process.

Light: importing it loads neither, and nothing of the server.
"""

from headrace.embedded.llamacpp import EngineSettings, available, find_model, open_server

__all__ = ["EngineSettings", "available", "find_model", "open_server"]
