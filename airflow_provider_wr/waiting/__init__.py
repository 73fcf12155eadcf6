"""How to wait, without I/O: the rules, the pauses, and the progress that is logged."""
