"""A real OpenAI-compatible model server that is not ours: llama.cpp's own, with the embedded model.

    python tests/servers/llamacpp.py --port 0 --api-key secret

Prints `ready http://127.0.0.1:PORT/v1` once it answers, serves `smollm2-135m`, and ends on SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import threading
from typing import Any

from headrace.providers.local import find_model

MODEL = "smollm2-135m"


def serve(port: int, api_key: str, slots: int) -> Any:
    model = find_model()
    if model is None:
        sys.exit("the model is not installed: run scripts/install --model")
    xllamacpp: Any = importlib.import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {MODEL}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.api_keys = [api_key]
    params.n_parallel = slots
    params.n_ctx = slots * 2048
    params.n_batch = params.n_ubatch = 32
    threads = max(1, min(4, (os.cpu_count() or 1) // 2))
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.endpoint_metrics = True
    params.cache_ram_mib = 0
    params.fit_params = False
    params.verbosity = 0
    params.ui = False
    return xllamacpp.Server(params)


def main() -> None:
    parser = argparse.ArgumentParser(description="llama.cpp's OpenAI-compatible server with the embedded model")
    parser.add_argument("--port", type=int, default=0, help="0 is any free port (default)")
    parser.add_argument("--api-key", default="llamacpp-test-key")
    parser.add_argument("--slots", type=int, default=2, help="answers that are written at the same time (default 2)")
    options = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    server = serve(options.port, options.api_key, options.slots)
    sys.stdout.write(f"ready {server.listening_address}/v1\n")
    sys.stdout.flush()
    stop.wait()
    # Its destructor ends the open answers and joins llama.cpp's threads.
    del server


if __name__ == "__main__":
    main()
