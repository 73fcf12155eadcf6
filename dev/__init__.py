"""Tools for those who work on the provider; not part of the package that users install."""
