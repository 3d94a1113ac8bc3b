from __future__ import annotations

import shutil
import subprocess

from django.conf import settings


def test_the_browsers_modules_pass_their_own_tests() -> None:
    """The pure logic of the pages (order and dedupe of frames, reconnecting, formats), by node's own test runner."""
    node = shutil.which("node")
    assert node, "node is missing: `make setup` installs it"
    tests = sorted(str(path) for path in (settings.BASE_DIR / "dashboard/static_src/tests").glob("*.test.js"))

    answer = subprocess.run([node, "--test", *tests], capture_output=True, text=True, timeout=120, check=False)

    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert len(tests) >= 6
