"""How to wait, without I/O: rules, backoff and progress logging."""
