"""Bytes on the wire: ``requests`` and ``aiohttp``, each of which knows how far a request got."""
