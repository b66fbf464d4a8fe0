"""The log in Redis or Valkey: streams that outlive a process, and that any node can read, stop and take over.

docs/operations.md says what such a store keeps and what it may lose.
"""

from headrace.stores.redis.store import RedisStore

__all__ = ["RedisStore"]
