"""TA-Lib by itself. It would load pandas and polars where they are installed (40 MB in each process), and look for them
in every argument of every call (a third of what most calls cost). The engine gives it arrays: `from engine.ta import talib`.
"""

from __future__ import annotations

import sys
from types import ModuleType

_UNWANTED = ("pandas", "polars")


def _import_talib() -> ModuleType:
    """Imports it while those two seem not to be installed."""
    loaded = {name: sys.modules.pop(name) for name in _UNWANTED if name in sys.modules}
    hidden: dict[str, ModuleType | None] = dict.fromkeys(_UNWANTED)
    sys.modules.update(hidden)  # type: ignore[arg-type]  # None is how Python marks what must not be imported
    try:
        import talib
    finally:
        for name in _UNWANTED:
            del sys.modules[name]
        sys.modules.update(loaded)
    module: ModuleType = talib
    return module


talib = _import_talib()
