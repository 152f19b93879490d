from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from mesh.auth.keys import MAX_AGE_S, PAUSE_S, REFRESH_S, TokenKeys
from mesh.auth.revocations import KEPT_S, Revocations
from mesh.auth.tokens import INTERNAL_TYPE, TOKEN_TYPE, TokenVerifier
from mesh.errors import Transient, Unauthenticated
from mesh.testing.tokens import TokenMint
from meshapi.v1.tokens_pb2 import TokenKey


def unsigned(claims: dict[str, Any], header: dict[str, Any]) -> str:
    parts = (json.dumps(part).encode() for part in (header, claims))
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."


def tampered(token: str) -> str:
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["sub"] = "somebody-else"
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"{head}.{forged}.{signature}"


class Forger(TokenMint):
    """Forges tokens of one kind: those that apps show, or those that travel inside."""

    def __init__(self, kid: str = "test-1", *, inside: bool) -> None:
        super().__init__(kid)
        self.inside = inside
        self.type = INTERNAL_TYPE if inside else TOKEN_TYPE

    def make(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        sign = self.sign_internal if self.inside else self.sign
        return sign(claims, header)

    def head(self, alg: str, **more: Any) -> dict[str, Any]:
        return {"alg": alg, "typ": self.type, "kid": self.kid} | more

    def other(self, kid: str = "") -> Forger:
        """Somebody with a key of their own, who calls it as this one's is called."""
        return Forger(kid or self.kid, inside=self.inside)


def by_secret(forger: Forger) -> str:
    """Signs with HMAC, the public key as the secret: the classic confusion."""
    pem = forger.key.as_pem(private=False)
    secret = OctKey.import_key(pem.hex())
    return jwt.encode(forger.head("HS256"), {"sub": "mallory"}, secret, algorithms=["HS256"])


def with_own_key(forger: Forger) -> str:
    """Brings its own key along."""
    other = forger.other()
    return other.make({"jwk": other.key.as_dict(private=False)})


def now(later_s: int = 0) -> int:
    """The time of the call: these tests may run long after they were collected."""
    return int(time.time()) + later_s


FORGED: dict[str, Callable[[Forger], str]] = {
    "expired": lambda forger: forger.make(iat=now(-300), exp=now(-120)),
    "not valid yet": lambda forger: forger.make(nbf=now(120)),
    "issued in the future": lambda forger: forger.make(iat=now(120)),
    "without an end": lambda forger: forger.make(exp=None),
    "without a beginning": lambda forger: forger.make(iat=None),
    "with an end that is no number": lambda forger: forger.make(exp=True),
    "good for a day": lambda forger: forger.make(exp=now(86_400)),
    "without a subject": lambda forger: forger.make(sub=None),
    "without a session": lambda forger: forger.make(sid=None),
    "with an empty subject": lambda forger: forger.make(sub=""),
    "with a subject that is no text": lambda forger: forger.make(sub={"$ne": ""}),
    "alg none": lambda forger: unsigned({"sub": "mallory"}, forger.head("none")),
    "alg None": lambda forger: unsigned({"sub": "mallory"}, forger.head("None")),
    "HS256 by the public key": by_secret,
    "another audience": lambda forger: forger.make(aud="shop"),
    "several audiences": lambda forger: forger.make(aud=["bank", "mesh"]),
    "no audience": lambda forger: forger.make(aud=None),
    "another issuer": lambda forger: forger.make(iss="https://evil.example"),
    "another type": lambda forger: forger.make({"typ": "JWT"}),
    "the other kind": lambda forger: (forger.sign if forger.inside else forger.sign_internal)({}),
    "tampered": lambda forger: tampered(forger.make(sub="maria")),
    "cut off": lambda forger: forger.make()[:-10],
    "an unknown kid": lambda forger: forger.other("other").make(),
    "a kid that is a path": lambda forger: forger.make({"kid": "../../etc/passwd"}),
    "a kid that is a question": lambda forger: forger.make({"kid": "' OR 1=1 --"}),
    "a kid that is an address": lambda forger: forger.make({"kid": "https://evil.example/k"}),
    "another key under a known kid": lambda forger: forger.other().make(),
    "its own key along": with_own_key,
    "an address of keys": lambda forger: forger.other().make({"jku": "https://evil.example"}),
    "a critical header": lambda forger: unsigned({}, forger.head("ES256", crit=["b64"], b64=False)),
    "a megabyte": lambda forger: "x" * 1_000_000,
    "a large one, well signed": lambda forger: forger.make(padding="x" * 10_000),
    "nothing": lambda forger: "",
    "no token at all": lambda forger: "a.b.c",
    "letters of the world": lambda forger: "ação.☃.é",
}


@pytest.mark.parametrize("inside", [True, False], ids=["internal", "access"])
@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
async def test_a_token_that_is_not_good_is_refused_and_says_no_more(
    forge: Callable[[Forger], str], inside: bool
) -> None:
    forger = Forger(inside=inside)
    verifier = TokenVerifier(TokenKeys(forger.fetch))
    token = forge(forger)

    for _ in range(2):
        with pytest.raises(Unauthenticated) as caught:
            await (verifier.verify(token, "bff") if inside else verifier.verify_access(token))
        assert caught.value.reason in {"TOKEN_INVALID", "TOKEN_EXPIRED"}
        assert verifier.known(token, "bff") is None


@pytest.mark.parametrize("workload", ["transfers", ""])
async def test_a_token_is_good_for_the_workload_that_it_was_given_to(workload: str) -> None:
    mint = TokenMint()
    verifier = TokenVerifier(TokenKeys(mint.fetch))
    token = mint.token("maria", workload="bff")
    await verifier.verify(token, "bff")

    with pytest.raises(Unauthenticated) as refused:
        await verifier.verify(token, workload)

    assert refused.value.reason == "TOKEN_NOT_YOURS"


async def test_a_token_that_is_bound_to_nobody_is_good_for_nobody() -> None:
    mint = TokenMint()
    verifier = TokenVerifier(TokenKeys(mint.fetch))

    for cnf in (None, {}, "bff", {"spiffe": ""}, {"jkt": "bff"}):
        with pytest.raises(Unauthenticated):
            await verifier.verify(mint.sign_internal({"cnf": cnf}), "bff")


async def test_the_tokens_of_an_ended_session_are_refused_known_or_not() -> None:
    mint, revocations = TokenMint(), Revocations()
    verifier = TokenVerifier(TokenKeys(mint.fetch), revocations)
    known, unknown, other = (mint.sign_internal({"sid": sid}) for sid in ("a", "a", "b"))
    await verifier.verify(known, "bff")
    await verifier.verify(other, "bff")

    revocations.add(["a"])

    for token in (known, unknown):
        with pytest.raises(Unauthenticated) as refused:
            await verifier.verify(token, "bff")
        assert refused.value.reason == "SESSION_ENDED"
    assert verifier.known(other, "bff") is not None


def test_an_ended_session_is_forgotten_when_its_tokens_have_expired() -> None:
    clock = [0.0]
    revocations = Revocations(clock=lambda: clock[0])
    revocations.add(["a"])
    clock[0] = KEPT_S
    revocations.add(["b"])

    assert list(revocations.sessions) == ["b"]


async def test_a_good_token_names_its_user() -> None:
    mint = TokenMint()
    verifier = TokenVerifier(TokenKeys(mint.fetch))

    user, _ = await verifier.verify_access(
        mint.sign(
            {
                "sub": "maria",
                "sid": "s1",
                "scope": "pay read",
                "amr": ["pwd", "otp"],
                "auth_time": 7,
            }
        )
    )

    assert (user.user_id, user.session_id) == ("maria", "s1")
    assert user.scopes == {"pay", "read"}
    assert (user.authenticated_at, user.second_factor_at) == (7, 7)


@pytest.mark.parametrize("skew", [-30, 30])
async def test_clocks_may_differ_by_half_a_minute(skew: int) -> None:
    mint = TokenMint()
    at = now()
    token = mint.sign_internal({"iat": at, "nbf": at, "exp": at + 1})
    verifier = TokenVerifier(TokenKeys(mint.fetch), clock=lambda: at + skew)

    assert (await verifier.verify(token, "bff")).user_id


async def test_a_token_is_verified_once_and_forgotten_when_it_expires() -> None:
    mint = TokenMint()
    clock = [float(now())]
    verifier = TokenVerifier(TokenKeys(mint.fetch), clock=lambda: clock[0])
    token = mint.sign_internal({"exp": now(10)})

    user = await verifier.verify(token, "bff")
    assert verifier.known(token, "bff") is user
    clock[0] += 200

    assert verifier.known(token, "bff") is None
    with pytest.raises(Unauthenticated, match="expired"):
        await verifier.verify(token, "bff")


class Issuer:
    """Publishes whatever keys it is given, or does not answer."""

    def __init__(self, *mints: TokenMint) -> None:
        self.keys = [mint.public_key() for mint in mints]
        self.asked = 0
        self.is_away = False

    async def fetch(self) -> list[TokenKey]:
        self.asked += 1
        if self.is_away:
            raise Transient("UNAVAILABLE", "Away.")
        return self.keys


async def test_a_new_key_is_asked_for_and_an_old_one_refused_after_it_is_withdrawn() -> None:
    old, new = TokenMint("old"), TokenMint("new")
    issuer, clock = Issuer(old), [0.0]
    verifier = TokenVerifier(TokenKeys(issuer.fetch, clock=lambda: clock[0]))
    await verifier.verify(old.token("maria"), "bff")

    issuer.keys = [new.public_key(), old.public_key()]
    clock[0] += PAUSE_S
    await verifier.verify(new.token("maria"), "bff")
    await verifier.verify(old.token("maria"), "bff")
    issuer.keys = [new.public_key()]
    clock[0] += REFRESH_S + 1

    with pytest.raises(Unauthenticated):
        await verifier.verify(old.token("maria"), "bff")
    assert issuer.asked == 3


async def test_made_up_keys_cost_the_issuer_one_question_now_and_then() -> None:
    issuer = Issuer(TokenMint())
    verifier = TokenVerifier(TokenKeys(issuer.fetch, clock=lambda: 1_000.0))

    for number in range(20):
        with pytest.raises(Unauthenticated):
            await verifier.verify(TokenMint(f"made-up-{number}").token("mallory"), "bff")

    assert issuer.asked == 1


async def test_without_an_issuer_known_keys_serve_on_until_they_are_too_old() -> None:
    mint, clock = TokenMint(), [0.0]
    issuer = Issuer(mint)
    verifier = TokenVerifier(TokenKeys(issuer.fetch, clock=lambda: clock[0]))
    await verifier.verify(mint.token("maria"), "bff")
    issuer.is_away = True

    clock[0] += REFRESH_S + 1
    await verifier.verify(mint.token("maria"), "bff")
    clock[0] += MAX_AGE_S

    with pytest.raises(Transient) as caught:
        await verifier.verify(mint.token("maria"), "bff")
    assert caught.value.reason == "TOKEN_KEYS_UNAVAILABLE"


async def test_keys_of_another_kind_are_not_taken() -> None:
    mint = TokenMint()
    issuer = Issuer(mint)
    strong = mint.public_key()
    issuer.keys = [
        TokenKey(kty="oct", alg="HS256", kid="a"),
        TokenKey(kty="EC", use="sig", alg="ES256", kid="b", crv="P-256", x="AA", y="AA"),
        TokenKey(kty="EC", use="enc", alg="ES256", kid="c", crv="P-256", x=strong.x, y=strong.y),
        strong,
    ]
    keys = TokenKeys(issuer.fetch)

    assert isinstance(await keys.find(mint.kid), ECKey)
    for name in ("a", "b", "c"):
        with pytest.raises(Unauthenticated):
            await keys.find(name)
