"""Several processes as one server: it binds, starts them, starts again what dies, and ends them in order.

It loads neither a model nor the application, so it takes little and has little that could break.
"""

from headrace.cli.supervisor.supervisor import supervise

__all__ = ["supervise"]
