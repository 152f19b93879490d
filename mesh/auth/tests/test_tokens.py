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
from mesh.auth.tokens import TokenVerifier
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


def by_secret(mint: TokenMint) -> str:
    """Signs with HMAC, the public key as the secret: the classic confusion."""
    pem = mint.key.as_pem(private=False)
    header = {"alg": "HS256", "typ": "at+jwt", "kid": mint.kid}
    return jwt.encode(
        header, {"sub": "mallory"}, OctKey.import_key(pem.hex()), algorithms=["HS256"]
    )


def with_own_key(mint: TokenMint) -> str:
    """Brings its own key along."""
    other = TokenMint(mint.kid)
    return other.sign({}, {"jwk": other.key.as_dict(private=False)})


def now(later_s: int = 0) -> int:
    """The time of the call: these tests may run long after they were collected."""
    return int(time.time()) + later_s


FORGED: dict[str, Callable[[TokenMint], str]] = {
    "expired": lambda mint: mint.sign({"exp": now(-120)}),
    "not valid yet": lambda mint: mint.sign({"nbf": now(120)}),
    "issued in the future": lambda mint: mint.sign({"iat": now(120)}),
    "without an end": lambda mint: mint.sign({"exp": None}),
    "with an end that is no number": lambda mint: mint.sign({"exp": True}),
    "without a subject": lambda mint: mint.sign({"sub": None}),
    "without a session": lambda mint: mint.sign({"sid": None}),
    "with an empty subject": lambda mint: mint.sign({"sub": ""}),
    "alg none": lambda mint: unsigned(
        {"sub": "mallory"}, {"alg": "none", "typ": "at+jwt", "kid": mint.kid}
    ),
    "alg None": lambda mint: unsigned(
        {"sub": "mallory"}, {"alg": "None", "typ": "at+jwt", "kid": mint.kid}
    ),
    "HS256 by the public key": by_secret,
    "another audience": lambda mint: mint.sign({"aud": "shop"}),
    "no audience": lambda mint: mint.sign({"aud": None}),
    "another issuer": lambda mint: mint.sign({"iss": "https://evil.example"}),
    "another type": lambda mint: mint.sign({}, {"typ": "JWT"}),
    "tampered": lambda mint: tampered(mint.token("maria")),
    "cut off": lambda mint: mint.token("maria")[:-10],
    "an unknown kid": lambda mint: TokenMint("other").token("maria"),
    "a kid that is a path": lambda mint: mint.sign({}, {"kid": "../../etc/passwd"}),
    "another key under a known kid": lambda mint: TokenMint(mint.kid).token("maria"),
    "its own key along": with_own_key,
    "a critical header": lambda mint: unsigned(
        {}, {"alg": "ES256", "typ": "at+jwt", "kid": mint.kid, "crit": ["b64"], "b64": False}
    ),
    "a megabyte": lambda mint: "x" * 1_000_000,
    "a large one, well signed": lambda mint: mint.sign({"padding": "x" * 10_000}),
    "nothing": lambda mint: "",
    "no token at all": lambda mint: "a.b.c",
    "letters of the world": lambda mint: "ação.☃.é",
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
async def test_a_token_that_is_not_good_is_refused_and_says_no_more(
    forge: Callable[[TokenMint], str],
) -> None:
    mint = TokenMint()
    verifier = TokenVerifier(TokenKeys(mint.fetch))
    token = forge(mint)

    for _ in range(2):
        with pytest.raises(Unauthenticated) as caught:
            await verifier.verify(token)
        assert caught.value.reason in {"TOKEN_INVALID", "TOKEN_EXPIRED"}
        assert verifier.known(token) is None


async def test_a_good_token_names_its_user() -> None:
    mint = TokenMint()
    verifier = TokenVerifier(TokenKeys(mint.fetch))

    user = await verifier.verify(
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
    signed_at = now()
    token = mint.sign({"iat": signed_at, "nbf": signed_at, "exp": signed_at + 1})
    verifier = TokenVerifier(TokenKeys(mint.fetch), clock=lambda: signed_at + skew)

    assert (await verifier.verify(token)).user_id


async def test_a_token_is_verified_once_and_forgotten_when_it_expires() -> None:
    mint = TokenMint()
    clock = [float(now())]
    verifier = TokenVerifier(TokenKeys(mint.fetch), clock=lambda: clock[0])
    token = mint.sign({"exp": now(10)})

    user = await verifier.verify(token)
    assert verifier.known(token) is user
    clock[0] += 200

    assert verifier.known(token) is None
    with pytest.raises(Unauthenticated, match="expired"):
        await verifier.verify(token)


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
    await verifier.verify(old.token("maria"))

    issuer.keys = [new.public_key(), old.public_key()]
    clock[0] += PAUSE_S
    await verifier.verify(new.token("maria"))
    await verifier.verify(old.token("maria"))
    issuer.keys = [new.public_key()]
    clock[0] += REFRESH_S + 1

    with pytest.raises(Unauthenticated):
        await verifier.verify(old.token("maria"))
    assert issuer.asked == 3


async def test_made_up_keys_cost_the_issuer_one_question_now_and_then() -> None:
    issuer = Issuer(TokenMint())
    verifier = TokenVerifier(TokenKeys(issuer.fetch, clock=lambda: 1_000.0))

    for number in range(20):
        with pytest.raises(Unauthenticated):
            await verifier.verify(TokenMint(f"made-up-{number}").token("mallory"))

    assert issuer.asked == 1


async def test_without_an_issuer_known_keys_serve_on_until_they_are_too_old() -> None:
    mint, clock = TokenMint(), [0.0]
    issuer = Issuer(mint)
    verifier = TokenVerifier(TokenKeys(issuer.fetch, clock=lambda: clock[0]))
    await verifier.verify(mint.token("maria"))
    issuer.is_away = True

    clock[0] += REFRESH_S + 1
    await verifier.verify(mint.token("maria"))
    clock[0] += MAX_AGE_S

    with pytest.raises(Transient) as caught:
        await verifier.verify(mint.token("maria"))
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
