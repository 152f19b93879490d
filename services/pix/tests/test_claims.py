"""The rules of keys and claims, over every path that a claim can take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mesh.errors import FailedPrecondition, Refused
from services.pix.domain import keys
from services.pix.domain.keys import (
    BUCKET,
    ENDED,
    REFILL_EVERY_US,
    Claim,
    ClaimKind,
    ClaimStatus,
    Owner,
    Reason,
    Side,
    free_slot,
    masked_document,
    masked_name,
    refilled,
)
from services.pix.domain.payments import Key
from services.pix.domain.rail import Holder

OWNER = Owner(name="Padaria", cnpj="16727230000197", cpf="52998224725", email="Ana@Padaria.example")
MADE = Claim(
    id="claim",
    key_id="key",
    key="+5511987654321",
    kind=ClaimKind.OWNERSHIP,
    claimer="here",
    donor="",
    requested_by="ana",
    request_id="once",
    created_at_us=0,
)
ORDER = list(ClaimStatus)


class Claims(RuleBasedStateMachine):
    """Whatever both sides and the clock do, a claim goes forward, and moves no key early."""

    def __init__(self) -> None:
        super().__init__()
        self.claim = MADE
        self.seen = [MADE.status]
        self.now_us = 0

    def step(self, after: Claim) -> None:
        if after.status is not self.claim.status:
            assert self.claim.status not in ENDED
            assert ORDER.index(after.status) > ORDER.index(self.claim.status)
            self.seen.append(after.status)
        self.claim = after

    def attempt(self, act: str, *args: object) -> None:
        try:
            self.step(getattr(self.claim, act)(*args))
        except Refused:
            return

    @rule(days=st.integers(0, 20))
    def time_passes(self, days: int) -> None:
        self.now_us += days * keys.DAY_US
        if self.now_us >= self.claim.resolution_ends_us:
            self.step(self.claim.unanswered())
        if self.now_us >= self.claim.lapses_us:
            self.step(self.claim.lapsed())

    @rule()
    def the_bank_learns_of_it(self) -> None:
        self.step(self.claim.acknowledged())

    @rule()
    def the_holder_lets_go(self) -> None:
        self.attempt("confirmed")

    @rule(side=st.sampled_from(Side), reason=st.sampled_from(list(Reason)[1:]))
    def one_calls_it_off(self, side: Side, reason: Reason) -> None:
        self.attempt("cancelled", side, reason)

    @rule()
    def the_claimer_completes(self) -> None:
        self.attempt("completed", self.now_us)

    @invariant()
    def a_key_moves_only_after_a_yes_or_a_silence_of_fourteen_days(self) -> None:
        if self.claim.status is ClaimStatus.COMPLETED:
            assert ClaimStatus.CONFIRMED in self.seen
            if self.claim.confirm_reason is Reason.DEFAULT_OPERATION:
                assert self.now_us >= self.claim.objection_ends_us


TestClaims = Claims.TestCase


@pytest.mark.parametrize(
    ("key", "is_proven"),
    [
        ("52998224725", True),
        ("16727230000197", True),
        ("ana@padaria.example", True),
        ("bia@padaria.example", False),
        ("+5511987654321", False),
        ("0198c3a1-0000-7000-8000-000000000001", True),
    ],
)
def test_what_is_proven_without_a_code(key: str, is_proven: bool) -> None:
    assert OWNER.is_proven(Key.parse(key)) is is_proven


def test_a_document_of_another_is_no_key_of_ones_own() -> None:
    with pytest.raises(FailedPrecondition):
        OWNER.is_proven(Key.parse("11144477735"))


@given(st.sets(st.integers(1, 20)))
def test_a_free_slot_is_found_while_there_is_one(taken: set[int]) -> None:
    if len(taken) == 20:
        with pytest.raises(FailedPrecondition):
            free_slot(taken, 20)
    else:
        assert free_slot(taken, 20) in set(range(1, 21)) - taken


@given(st.integers(0, BUCKET), st.lists(st.integers(0, 10**8), max_size=20))
def test_a_bucket_fills_alike_however_often_one_looks(tokens: int, waits: list[int]) -> None:
    at_once = refilled(tokens, 0, sum(waits))
    in_parts, as_of, now = tokens, 0, 0
    for wait in waits:
        now += wait
        in_parts, as_of = refilled(in_parts, as_of, now)

    assert in_parts == at_once[0] <= BUCKET
    assert at_once[0] >= min(BUCKET, tokens + sum(waits) // REFILL_EVERY_US)


def test_a_person_is_masked_and_a_company_is_not() -> None:
    person, company = (
        Holder(document="52998224725", name="Ana Lima Sá"),
        Holder(document="16727230000197", name="Padaria Ltda"),
    )

    assert masked_name(person) == "Ana L*** S*"
    assert masked_document(person.document) == "***.982.247-**"
    assert (masked_name(company), masked_document(company.document)) == (
        "Padaria Ltda",
        "16727230000197",
    )
