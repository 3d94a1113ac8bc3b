"""Signals: algorithms and their configurations, sweeps, verdicts, calls."""
