"""The operator's mail by a real conversation with a mail server."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from pytest_django import Settings

from watch.alarm import Alarm
from watch.models import Incident
from watch.tests.test_alarm import OLD, Scripted, incidents_of

pytestmark = pytest.mark.django_db(transaction=True)


class MailServer(socketserver.StreamRequestHandler):
    """Takes every mail, or with `is_silent` the connection and nothing more."""

    mails: list[str] = []
    is_silent = False

    def handle(self) -> None:
        if self.is_silent:
            self.rfile.read()  # until the other side gives up
            return
        self._say("220 here")
        while line := self.rfile.readline().decode().strip():
            verb = line.upper().partition(" ")[0]
            if verb == "DATA":
                self._say("354 go on")
                lines = iter(lambda: self.rfile.readline().decode().rstrip("\r\n"), ".")
                self.mails.append("\n".join(lines))
            self._say("221 bye" if verb == "QUIT" else "250 ok")

    def _say(self, words: str) -> None:
        self.wfile.write(f"{words}\r\n".encode())


@pytest.fixture
def mail_server(settings: Settings) -> Iterator[type[MailServer]]:
    MailServer.mails, MailServer.is_silent = [], False
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), MailServer) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.server_address[1]
        settings.OPERATOR_EMAILS = ["oscar@example.org"]
        yield MailServer
        server.shutdown()


@pytest.fixture
def alarm(settings: Settings) -> Alarm:
    readiness = Scripted()
    readiness.reasons["sweep"] = OLD
    return Alarm(readiness, patience=0.0, warm_up=0.0)  # type: ignore[arg-type]


async def test_it_arrives(mail_server: type[MailServer], alarm: Alarm) -> None:
    await alarm.look()

    [sent] = mail_server.mails
    assert "Subject: Boritrader: the sweeps not well" in sent
    assert "To: oscar@example.org" in sent
    assert (await incidents_of(Incident.objects.get)).told_at is not None


async def test_a_mail_server_that_hangs_holds_up_nobody_and_the_mail_is_still_owed(
    mail_server: type[MailServer], alarm: Alarm, settings: Settings
) -> None:
    mail_server.is_silent, settings.EMAIL_TIMEOUT = True, 0.2

    began = time.monotonic()
    await alarm.look()

    assert time.monotonic() - began < 30
    assert mail_server.mails == []
    incident = await incidents_of(Incident.objects.get)
    assert incident.told_at is None
    assert incident.telling_until > datetime.now(UTC)


async def test_a_relay_is_told_of_with_its_process(mail_server: type[MailServer], settings: Settings) -> None:
    readiness = Scripted()
    readiness.reasons["relay"] = "the relay of this web process has not looked into the database for 45 s"

    await Alarm(readiness, patience=0.0, warm_up=0.0).look()  # type: ignore[arg-type]

    [sent] = mail_server.mails
    assert "for 45 s (" in sent.replace("=\n", "")
    assert ", pid " in sent.replace("=\n", "")
