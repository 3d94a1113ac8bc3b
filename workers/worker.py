"""`python -m workers.worker -Q sweep ...`: Celery's worker with all its options, and without its other commands.

`celery -A workers worker` starts the same, but loads Flower and an interactive shell first: 20 MB in each of its processes.
"""

from __future__ import annotations

from celery.bin.base import CLIContext
from celery.bin.worker import worker

from workers.celery import app

if __name__ == "__main__":
    worker.main(obj=CLIContext(app=app, no_color=True, workdir=None, quiet=True))
