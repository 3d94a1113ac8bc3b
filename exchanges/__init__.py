"""Exchanges: everything that talks to one, and the simulated one. Free of Django."""
