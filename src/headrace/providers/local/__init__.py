"""The `local` provider: SmolLM2-135M-Instruct in this process, so that Headrace answers without any key.

A 135M model writes fluent English and gets facts wrong: it is there to try things and to test them.
"""

from headrace.embedded import available, find_model
from headrace.providers.local.provider import LocalProvider
from headrace.providers.local.server import LocalServer

__all__ = ["LocalProvider", "LocalServer", "available", "find_model"]
