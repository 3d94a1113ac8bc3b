"""The trading engine: numpy in, numpy out. No Django, no I/O, no clock."""
