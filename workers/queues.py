"""Whether a worker still works: judged by its queues, not by its pid. Standard library only.

A Celery worker can stay alive after its Redis came back and take nothing any more (RELIABILITY of the broker).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from workers import resp
from workers.processes import die_with_parent, kill_group

# Seconds for which the queue `record` may stand still: above the longest hard limit of its tasks (a replay: 10,860 s).
RECORD_PATIENCE = 11_000.0


class QueueWatch:
    """Watches the queues of one worker: while messages wait, the one whose turn is next must change.

    `patience` is how many seconds the same message may be next; longer than the worker's slowest ordinary task.
    """

    def __init__(self, broker_url: str, queues: Sequence[str], *, patience: float) -> None:
        self._url = broker_url
        self._patience = patience
        self._next: dict[str, tuple[str, float]] = dict.fromkeys(queues, ("", 0.0))

    def stuck_queue(self, *, now: float, started: float) -> str | None:
        """The queue from which nothing was taken for too long, if there is one.

        `now` and `started` (of the worker: before it nothing counts) are of one monotonic clock, in seconds. A broker
        that does not answer says nothing about the worker: then nothing is stuck.
        """
        for queue, (message, since) in self._next.items():
            try:
                # Celery pushes on the left and takes from the right.
                found = resp.ask(self._url, "LINDEX", queue, "-1", timeout=0.5)
            except (resp.StoreUnreachable, resp.StoreRefused):
                found = None
            if not isinstance(found, str) or found != message:
                self._next[queue] = (str(found or ""), now)
            elif now - max(since, started) > self._patience:
                return queue
        return None


def main() -> int:
    """Runs a worker's command line as its only child; ends it and itself with code 1 when the worker is stuck.

    For containers, whose engine restarts what ends but cannot judge it; `make run` does both itself.
    """
    parser = argparse.ArgumentParser(prog="python -m workers.queues", description=main.__doc__)
    parser.add_argument("--queues", required=True, help="comma-separated; the worker takes from all of them")
    parser.add_argument("--patience", type=float, default=30.0, help="seconds without anything taken (default: 30)")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two looks (default: 5)")
    parser.add_argument("command", nargs="+", help="after --: the worker's own command line")
    arguments = parser.parse_args()
    watch = QueueWatch(os.environ["BROKER_URL"], arguments.queues.split(","), patience=arguments.patience)
    started = time.monotonic()
    with subprocess.Popen(arguments.command, process_group=0, preexec_fn=die_with_parent(signal.SIGTERM)) as worker:
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
            signal.signal(one, lambda number, _frame: worker.send_signal(number))
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = worker.wait(arguments.every)
                return code if code >= 0 else 128 - code
            queue = watch.stuck_queue(now=time.monotonic(), started=started)
            if queue is not None:
                sys.stderr.write(f"tasks wait in the queue {queue} and none is taken: killing the worker\n")
                kill_group(worker.pid)
                worker.wait()
                return 1


if __name__ == "__main__":
    sys.exit(main())
