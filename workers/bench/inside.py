"""Functions of a bench that need Django: run in a process that has the bench's stores, which the command's has not."""

from __future__ import annotations

import importlib
import os
import traceback
from collections.abc import Mapping
from typing import Any

from workers.bench import dialogue
from workers.bench.dialogue import Dialogue


class Inside(Dialogue):
    """The process. `with Inside(values) as inside: inside.call("package.module:name", argument=1)`."""

    def __init__(self, values: Mapping[str, str]) -> None:
        super().__init__("workers.bench.inside", values=values)

    def call(self, function: str, **arguments: Any) -> Any:
        """What the function returns; that and the arguments pass through JSON. Raises Failed."""
        return self.ask(function, **arguments)


def _main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "boritrader.settings"
    import django

    django.setup()
    for function, arguments in dialogue.questions():
        module, name = function.split(":")
        try:
            dialogue.answer(getattr(importlib.import_module(module), name)(**arguments))
        except Exception as error:  # noqa: BLE001 (the parent is told, and says so)
            traceback.print_exc()
            dialogue.fail(error)


if __name__ == "__main__":
    _main()
