"""Development tools, not part of the published package."""
