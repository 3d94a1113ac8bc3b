from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from workers import setup


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(setup, "ROOT", tmp_path)
    return tmp_path


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing on PATH."""
    (tmp_path / "nothing").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.delenv("CHROMIUM", raising=False)


def test_work_is_done_once_and_again_when_its_input_changes(tmp_path: Path) -> None:
    done = []
    for digest in ("a", "a", "b", "b", "a"):
        with setup.unless_done(tmp_path / "deep" / "stamp", digest) as is_needed:
            if is_needed:
                done.append(digest)

    assert done == ["a", "b", "a"]


def test_work_that_failed_is_not_remembered_as_done(tmp_path: Path) -> None:
    stamp = tmp_path / "stamp"
    stamp.write_text("old")

    with pytest.raises(setup.SetupFailed), setup.unless_done(stamp, "new"):
        raise setup.SetupFailed

    assert not stamp.exists()


def test_a_checksum_sees_contents_names_and_new_files(checkout: Path) -> None:
    folder = checkout / "src"
    folder.mkdir()
    seen = {setup.checksum(folder)}
    (folder / "a.js").write_text("one")
    seen.add(setup.checksum(folder))
    (folder / "a.js").write_text("two")
    seen.add(setup.checksum(folder))
    (folder / "a.js").rename(folder / "b.js")
    seen.add(setup.checksum(folder))

    assert len(seen) == 4
    assert setup.checksum(folder) in seen
    assert setup.checksum(folder, extra="3.12") not in seen


def test_a_failed_step_shows_the_installers_own_last_words() -> None:
    with pytest.raises(setup.SetupFailed, match=r"(?s)no such package.*Failed: installing things"):
        setup.step("installing things", ["/bin/sh", "-c", "echo no such package; exit 1"])


def test_a_step_says_what_it_does_and_how_long_it_took(capsys: pytest.CaptureFixture[str]) -> None:
    setup.step("installing things", ["/bin/sh", "-c", "echo noise"])

    assert re.fullmatch(
        r"setup: installing things ...\nsetup: installing things: done in \d+\.\d s\n", capsys.readouterr().out
    )


@pytest.mark.usefixtures("bare_machine")
def test_an_old_python_is_told_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    version = namedtuple("version", "major minor micro")
    monkeypatch.setattr(sys, "version_info", version(3, 9, 2))

    with pytest.raises(setup.SetupFailed, match=r"needs Python 3\.11 or newer; this is 3\.9\.2"):
        setup.require_python()


@pytest.mark.usefixtures("bare_machine")
def test_without_chromium_or_apt_one_is_told_how_to_install_it() -> None:
    with pytest.raises(setup.SetupFailed, match="sudo apt-get install chromium"):
        setup.require_chromium()


def test_without_root_nothing_is_installed_on_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("an installer was started"))

    with pytest.raises(setup.SetupFailed, match="sudo apt-get install python3-venv"):
        setup.install_from_debian("python3-venv", why="Python's venv module")


@pytest.mark.parametrize(("says", "version"), [("v24.19.0", 24), ("v18.2.0", 18), ("", 0), ("not node", 0)])
def test_the_version_of_node_is_read(tmp_path: Path, says: str, version: int) -> None:
    node = tmp_path / "node"
    node.write_text(f"#!/bin/sh\necho '{says}'\n")
    node.chmod(0o755)

    assert setup._node_version(str(node)) == version


def test_the_second_run_installs_nothing() -> None:
    """On this very checkout: its tests run, so it is set up."""
    answer = subprocess.run(
        [sys.executable, "workers/setup.py"], cwd=setup.ROOT, capture_output=True, text=True, timeout=600, check=True
    )
    again = subprocess.run(
        [sys.executable, "workers/setup.py"], cwd=setup.ROOT, capture_output=True, text=True, timeout=60, check=True
    )

    assert "ready" in answer.stdout
    assert re.fullmatch(r"setup: ready \(\d+\.\d s\)\n", again.stdout)


def test_the_lock_file_names_no_host() -> None:
    assert "resolved" not in (setup.ROOT / "package-lock.json").read_text()
    assert not re.search(r"https?://", (setup.ROOT / "package-lock.json").read_text())


def test_make_help_explains_every_target() -> None:
    makefile = (setup.ROOT / "Makefile").read_text()
    targets = next(line for line in makefile.splitlines() if line.startswith(".PHONY:")).split()[1:]

    answer = subprocess.run(
        ["/usr/bin/env", "make"], cwd=setup.ROOT, capture_output=True, text=True, timeout=60, check=True
    )

    assert re.findall(r"^  make ([a-z-]+) +\S", answer.stdout, re.MULTILINE) == targets
