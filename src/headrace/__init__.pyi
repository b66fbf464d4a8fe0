from headrace.app import create_app
from headrace.config import ApiKey, Config, Model, Secret, from_env, load
from headrace.errors import ConfigError, HeadraceError
from headrace.events import Chunk, Record
from headrace.messages import Request
from headrace.providers import Provider
from headrace.stores.base import StreamStore
from headrace.stores.memory import MemoryStore

__version__: str

__all__ = [
    "ApiKey",
    "Chunk",
    "Config",
    "ConfigError",
    "HeadraceError",
    "MemoryStore",
    "Model",
    "Provider",
    "Record",
    "Request",
    "Secret",
    "StreamStore",
    "__version__",
    "create_app",
    "from_env",
    "load",
]
