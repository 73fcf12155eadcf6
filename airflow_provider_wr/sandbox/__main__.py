"""`python -m airflow_provider_wr.sandbox`: run the sandbox until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import json
import signal
import threading
from contextlib import suppress

from airflow_provider_wr.sandbox import WITHOUT_EXTRA
from airflow_provider_wr.sandbox.workflow import API_KEY

try:
    from airflow_provider_wr.sandbox.server import Sandbox
except ImportError as error:
    raise SystemExit(f"{WITHOUT_EXTRA} ({error})") from None


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m airflow_provider_wr.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8787, help="0 lets the system choose")
    parser.add_argument("--api-key", default=API_KEY)
    parser.add_argument("--public-key", metavar="BASE64_DER_SPKI", help="check requests' Ed25519 signatures")
    parser.add_argument("--heartbeat", type=float, default=15.0, metavar="SECONDS")
    parser.add_argument("--speed", type=float, default=1.0, metavar="FACTOR", help="divides stages' times")
    parser.add_argument("--drift", action="store_true", help="answer as a slightly different server would")
    options = vars(parser.parse_args())

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        try:
            sandbox = Sandbox(**options)
        except (OSError, ValueError) as error:
            parser.error(str(error))
        with sandbox:
            facts = {
                "url": sandbox.url,
                "api_key": sandbox.api_key,
                "workflow_id": sandbox.workflow_id,
                "components": sandbox.components,
            }
            print(json.dumps(facts), flush=True)
            threading.Event().wait()


if __name__ == "__main__":
    main()
