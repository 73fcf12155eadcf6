"""Calls over the network, with ``requests`` and ``aiohttp``. Both report whether a request was sent."""
