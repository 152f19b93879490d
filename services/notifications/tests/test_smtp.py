"""E-mails by a real mail provider: away, busy, refusing, and killed in between."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import ValidationError

from bank.users.v1 import events_pb2 as users
from mesh.db import Database, UnitOfWork, open_database, sql
from mesh.supervisor.ports import free_port
from mesh.testing.harness import Running, running
from mesh.testing.waiting import eventually
from services.notifications.app import build
from services.notifications.clients.smtp import SmtpSettings

from .driver import completed
from .smtp import ANA, Provider, UsersApi, provider

STATUSES = sql("SELECT status, id FROM messages ORDER BY id")


def reach(monkeypatch: pytest.MonkeyPatch, port: int, **more: str) -> None:
    settings = {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "SECURITY": "none",
        "FIRST_PAUSE_S": "0.01",
        "LONGEST_PAUSE_S": "0.1",
        "TIMEOUT_S": "5",
        **more,
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"SMTP_{name}", value)


@asynccontextmanager
async def serving(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(build, tmp_path, peers={"users": [UsersApi()]}) as service:
        yield service


async def statuses(database: Database) -> list[str]:
    async def look(work: UnitOfWork) -> list[str]:
        return [row["status"] for row in await work.fetch_all(STATUSES)]

    return await database.read(look)


async def ended(database: Database, *expected: str) -> None:
    async def is_so() -> bool:
        return await statuses(database) == [*expected]

    await eventually(is_so)


async def test_an_email_is_what_the_message_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with provider() as mail:
        reach(monkeypatch, mail.port, SENDER="Banco <oi@banco.example>")
        async with serving(tmp_path) as service:
            await service.tell(users.UserRegistered(user_id=ANA))
            await ended(service.database, "sent")

    [sent] = mail.taken
    assert (sent["From"], sent["To"]) == ("Banco <oi@banco.example>", "Ana@Example.com")
    assert sent["Subject"] == "Confirme seu e-mail"
    assert sent["Content-Language"] == "pt-BR"
    assert str(sent["Message-ID"]).endswith("@banco.example>")
    assert sent.get_content().rstrip().endswith("Código: 000001")


async def test_while_the_provider_is_away_everything_waits_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    reach(monkeypatch, port)
    async with serving(tmp_path) as service:
        for _ in range(5):
            await service.tell(completed(ANA))
        assert await statuses(service.database) == ["pending"] * 5

        async with provider(port=port) as mail:
            await ended(service.database, *["sent"] * 5)

    assert len(set(mail.ids)) == len(mail.ids) == 5


@pytest.mark.parametrize("at_recipient", [False, True])
async def test_what_is_not_taken_yet_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, at_recipient: bool
) -> None:
    busy = ["451 4.7.1 Greylisted", "421 4.3.2 Busy"]
    async with provider(*busy, at_recipient=at_recipient) as mail:
        reach(monkeypatch, mail.port)
        async with serving(tmp_path) as service:
            await service.tell(completed(ANA))
            await ended(service.database, "sent")

    assert mail.answers == []
    assert len(mail.ids) == 1
    assert {str(each["Message-ID"]) for each in mail.seen} == {*mail.ids}


@pytest.mark.parametrize("at_recipient", [False, True])
async def test_what_is_refused_for_good_is_given_up_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, at_recipient: bool
) -> None:
    async with provider("550 5.1.1 No such mailbox", at_recipient=at_recipient) as mail:
        reach(monkeypatch, mail.port)
        async with serving(tmp_path) as service:
            await service.tell(completed(ANA))
            await ended(service.database, "undeliverable")
            await service.tell(completed(ANA))
            await ended(service.database, "undeliverable", "sent")

    assert len(mail.taken) == 1


@pytest.mark.faults
async def test_a_wrong_password_is_ours_to_mend_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = tmp_path / "password"
    password.write_text("wrong\n")
    async with provider(auth=True) as mail:
        reach(monkeypatch, mail.port, USER="bank", PASSWORD_FILE=str(password))
        async with serving(tmp_path) as service:
            await service.tell(completed(ANA))

            async def tried() -> bool:
                return b"wrong" in mail.signed_in

            await eventually(tried)
            assert await statuses(service.database) == ["pending"]
            password.write_text("secret\n")
            await ended(service.database, "sent")

    assert len(mail.taken) == 1


def test_a_password_is_not_sent_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    reach(monkeypatch, 25, HOST="mail.example", USER="bank")

    with pytest.raises(ValidationError, match="in the clear"):
        SmtpSettings()


@pytest.mark.faults
async def test_an_email_whose_sender_is_killed_in_between_is_the_same_one_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with provider() as mail:
        reach(monkeypatch, mail.port)
        mail.holds.clear()
        first = await started(tmp_path)
        await eventually(lambda: has_seen(mail, 1))
        os.kill(first.pid, signal.SIGKILL)
        await first.wait()
        # It was taken; nobody was left to hear of it.
        mail.holds.set()

        again = await started(tmp_path)
        await eventually(lambda: has_taken(mail, 2))
        database = await open_database(f"sqlite:///{tmp_path}/notifications/notifications.db")
        try:
            await ended(database, "sent")
        finally:
            await database.close()
            again.kill()
            await again.wait()

    assert len(set(mail.ids)) == 1


async def has_seen(mail: Provider, count: int) -> bool:
    return len(mail.seen) >= count


async def has_taken(mail: Provider, count: int) -> bool:
    return len(mail.taken) >= count


async def started(data_dir: Path) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.notifications.tests.smtp",
        str(data_dir),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"up\n"
    return process
