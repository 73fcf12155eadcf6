"""Import what takes long without blocking the event loop."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any

_loaded: dict[str, Any] = {}
_loading: dict[tuple[asyncio.AbstractEventLoop, str], asyncio.Future[None]] = {}


async def import_late(name: str) -> Any:
    """Return a module, imported in a thread. Concurrent callers share the thread: a triggerer starts with many."""
    if name not in _loaded:
        loop = asyncio.get_running_loop()
        key = loop, name
        if key not in _loading:
            _loading[key] = loop.run_in_executor(None, _load, name)
            _loading[key].add_done_callback(lambda _: _loading.pop(key))
        await asyncio.shield(_loading[key])
    return _loaded[name]


def _load(name: str) -> None:
    _loaded[name] = import_module(name)
