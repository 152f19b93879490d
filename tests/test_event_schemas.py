"""Events as they were once written are still understood, and who listens is written down."""

from __future__ import annotations

import importlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from mesh.catalogue import Catalogue, catalogue
from mesh.catalogue.asyncapi import asyncapi, render
from mesh.catalogue.corpus import Entry, add_missing, read, view
from mesh.catalogue.impact import impacts
from mesh.cli import protos
from mesh.cli.schemas import CORPUS, DOCUMENT
from mesh.errors import Transient
from mesh.events import Event
from mesh.events.view import MASK, masked, message_named
from mesh.testing.harness import running
from services.__main__ import BANK, ROOT

KNOWN: Catalogue = catalogue(BANK)
ENTRIES = list(read(ROOT / CORPUS))
LISTENING = sorted({listener.service for event in KNOWN.events for listener in event.listeners})

# A field that this release does not know: number 1999, a text.
UNKNOWN = b"\xfa\x7c\x05later"


def name_of(entry: Entry) -> str:
    return entry.name


def the_event(entry: Entry, payload: bytes) -> Event[Any]:
    kind = message_named(entry.type)
    assert kind is not None
    return Event(
        id=f"01900000-0000-7000-8000-{ENTRIES.index(entry):012d}",
        type=entry.type,
        source=entry.type.split(".")[1],
        subject=entry.type,
        key="key",
        version=1,
        time_us=1_767_225_600_000_000,
        traceparent="",
        data=kind.FromString(payload),
        stream="",
        sequence=1,
    )


def test_every_type_of_event_has_an_entry() -> None:
    missing = {event.name for event in KNOWN.events} - {entry.type for entry in ENTRIES}

    assert missing == set(), "./bank events corpus --add"


@pytest.mark.parametrize("entry", ENTRIES, ids=name_of)
def test_old_bytes_say_what_they_said(entry: Entry) -> None:
    kind = message_named(entry.type)

    assert kind is not None, f"{entry.type} is gone: its events are still in streams and archives"
    assert view(kind.FromString(entry.payload)) == entry.view


@pytest.mark.parametrize("entry", ENTRIES, ids=name_of)
def test_bytes_of_a_later_release_say_what_this_one_understands(entry: Entry) -> None:
    kind = message_named(entry.type)

    assert kind is not None
    assert view(kind.FromString(entry.payload + UNKNOWN)) == entry.view


@pytest.mark.parametrize("later", [b"", UNKNOWN], ids=["old", "later"])
@pytest.mark.parametrize("service", LISTENING)
async def test_every_listener_applies_the_corpus(
    service: str, later: bytes, tmp_path: Path
) -> None:
    build = importlib.import_module(f"services.{service}.app").build
    async with running(build, tmp_path) as it:
        applied = set()
        for entry in ENTRIES:
            for part in (*it.service.projections, *it.service.reactions):
                for message, handle in part.on.items():
                    if message.DESCRIPTOR.full_name == entry.type:
                        event = the_event(entry, entry.payload + later)
                        # To wait for another fact is to have understood this one.
                        with suppress(Transient):
                            await it.database.transact(handle, event)
                        applied.add(entry.type)
        heard = {
            event.name
            for event in KNOWN.events
            if service in {listener.service for listener in event.listeners}
        }

        assert applied == heard


def test_an_entry_is_added_once_and_never_changed(tmp_path: Path) -> None:
    added = add_missing(KNOWN, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    assert added == [event.name for event in KNOWN.events]
    assert add_missing(KNOWN, tmp_path) == []
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_second_shape_of_an_event_is_an_entry_of_its_type(tmp_path: Path) -> None:
    add_missing(KNOWN, tmp_path)
    name = KNOWN.events[0].name
    for end in ("binpb", "json"):
        (tmp_path / f"{name}.2.{end}").write_bytes((tmp_path / f"{name}.{end}").read_bytes())

    assert [entry.type for entry in read(tmp_path)].count(name) == 2


def test_the_asyncapi_document_is_fresh() -> None:
    assert (ROOT / DOCUMENT).read_text() == render(KNOWN), "./bank events asyncapi"


def test_the_asyncapi_document_names_who_tells_and_who_listens() -> None:
    document = asyncapi(KNOWN)
    operations = document["operations"]
    posted = "bank.accounts.v1.EntryPosted"

    assert document["asyncapi"] == "3.0.0"
    assert document["channels"][posted]["address"] == f"{posted}.{{account_id}}"
    assert operations[f"accounts.send.{posted}"]["action"] == "send"
    assert operations[f"statements-lines.receive.{posted}"]["x-kind"] == "projection"
    for operation in operations.values():
        assert operation["channel"]["$ref"].split("/")[-1] in document["channels"]
        for message in operation["messages"]:
            *_, channel, _, name = message["$ref"].split("/")
            assert name in document["channels"][channel]["messages"]
    said = document["components"]["messages"][posted]["summary"]
    assert said.startswith("An entry changed the balance of an account.")


def test_every_reference_of_the_document_is_there() -> None:
    document = asyncapi(KNOWN)

    def resolve(part: Any) -> None:
        if isinstance(part, dict):
            if "$ref" in part:
                found: Any = document
                for step in part["$ref"].removeprefix("#/").split("/"):
                    found = found[step]
            for inner in part.values():
                resolve(inner)
        elif isinstance(part, list):
            for inner in part:
                resolve(inner)

    resolve(document)


def test_the_impact_names_the_listeners_that_a_breaking_change_would_break(tmp_path: Path) -> None:
    copy = tmp_path / "protos"
    for path in [*(ROOT / "protos").rglob("*.proto"), ROOT / protos.BASELINE]:
        target = copy / path.relative_to(ROOT / "protos")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    money = copy / "bank/money/v1/money.proto"
    money.write_text(money.read_text().replace("int64 minor_units = 1", "int32 minor_units = 1"))
    findings = [line for line in protos.breaking(tmp_path) if "minor_units" in line]

    [impact] = impacts(findings, baseline(), KNOWN)

    broken = {event.name: [each.name for each in event.listeners] for event in impact.events}
    assert broken["bank.accounts.v1.EntryPosted"] == [
        "statements-lines",
        "support-copies",
        "notifications-webhooks",
    ]
    assert broken["bank.pix.v1.PixReceived"] == ["notifications-notify", "notifications-webhooks"]
    assert "bank.users.v1.CompanyOpened" not in broken


@pytest.mark.parametrize(
    ("finding", "event"),
    [
        (
            'bank/accounts/v1/events.proto:1:1:Previously present file "bank/users/v1/events.proto"'
            " was deleted.",
            "bank.users.v1.CompanyOpened",
        ),
        (
            "bank/users/v1/users.proto:1:1:Previously present enum value"
            ' "1" on enum "Role" was deleted.',
            "bank.users.v1.MembershipChanged",
        ),
        (
            "bank/pix/v1/events.proto:1:1:Previously present message"
            ' "bank.pix.v1.PixReceived" was deleted from file.',
            "bank.pix.v1.PixReceived",
        ),
    ],
)
def test_a_finding_is_followed_to_the_events_that_it_reaches(finding: str, event: str) -> None:
    [impact] = impacts([finding], baseline(), KNOWN)

    assert event in {each.name for each in impact.events}


def test_what_is_personal_is_masked_when_an_event_is_shown() -> None:
    posted = next(entry for entry in ENTRIES if entry.type == "bank.accounts.v1.EntryPosted")
    shown = masked(the_event(posted, posted.payload + UNKNOWN).data)

    assert (shown["counterparty"], shown["description"]) == (MASK, MASK)
    assert shown["amount"] == {"minorUnits": 1, "currencyCode": "BRL"}
    assert shown["occurredAt"] == "2026-01-01T00:00:00Z"
    assert shown["@unknown"].startswith("8 bytes")


def baseline() -> FileDescriptorSet:
    return FileDescriptorSet.FromString((ROOT / protos.BASELINE).read_bytes())
