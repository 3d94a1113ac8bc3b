"""Measurements a visitor can repeat: `manage.py bench NAME`. Each starts its own stores and processes, on free ports.

A bench is a module here with `HELP`, `add_arguments(parser)` and `run(options, say) -> Report`; it measures its
yardsticks in the same run as the product, because figures of two runs, or of two machines, do not compare.
"""
