"""File + environment -> one frozen `Config`. The only reader of the process environment.

`load` reads, `Config.check_access` is called before binding, `Config.resolve` finds the model of a request.
"""

from headrace.config.disconnect import Disconnect, parse_disconnect
from headrace.config.loader import from_env, load
from headrace.config.providers import EMBEDDED_MODEL, LOCAL_MODELS, PROVIDERS, Provider
from headrace.config.schema import ApiKey, CallSettings, Config, Model, is_loopback
from headrace.config.secret import Secret

__all__ = [
    "EMBEDDED_MODEL",
    "LOCAL_MODELS",
    "PROVIDERS",
    "ApiKey",
    "CallSettings",
    "Config",
    "Disconnect",
    "Model",
    "Provider",
    "Secret",
    "from_env",
    "is_loopback",
    "load",
    "parse_disconnect",
]
