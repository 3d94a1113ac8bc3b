"""`manage.py chaos`: faults against the whole product, and whether its promises hold. docs/RELIABILITY.md."""
