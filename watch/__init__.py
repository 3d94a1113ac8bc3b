"""Seen from outside: is it well, and if not, why. Freshness, the probes' addresses, metrics, incidents, the doctor."""
