from __future__ import annotations

from hooks.conftest import _no_long_pauses, _quick_server, connect, sandbox, serve  # noqa: F401
