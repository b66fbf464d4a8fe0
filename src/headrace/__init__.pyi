from headrace.app import create_app as create_app
from headrace.config import ApiKey as ApiKey
from headrace.config import Config as Config
from headrace.config import Model as Model
from headrace.config import Secret as Secret
from headrace.config import from_env as from_env
from headrace.config import load as load
from headrace.errors import ConfigError as ConfigError
from headrace.errors import HeadraceError as HeadraceError
from headrace.events import Chunk as Chunk
from headrace.events import Record as Record
from headrace.messages import Request as Request
from headrace.providers import Provider as Provider
from headrace.stores.base import StreamStore as StreamStore
from headrace.stores.memory import MemoryStore as MemoryStore

__version__: str
