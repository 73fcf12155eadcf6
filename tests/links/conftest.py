from __future__ import annotations

from hooks.conftest import connect, serve  # noqa: F401
