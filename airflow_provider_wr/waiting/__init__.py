"""How a run is waited for, without I/O: the rules, the pauses, and the progress that is logged."""
