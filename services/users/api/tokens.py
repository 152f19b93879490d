"""Speaks `meshapi.v1`: the keys of tokens, and the trade of what an app shows at the edge."""

from __future__ import annotations

from google.protobuf.json_format import ParseDict
from joserfc.jwk import ECKey

from mesh.auth.keys import TokenKeys
from mesh.auth.tokens import TokenVerifier
from mesh.chassis import Chassis
from mesh.clock import now_us
from mesh.errors import Unauthenticated
from mesh.rpc import Context, User, caller
from meshapi.v1 import tokens_pb2 as pb
from meshapi.v1.tokens_pb2_grpc import TokenExchangeServiceServicer, TokenKeysServiceServicer

from .. import credentials, keys
from ..domain import SECOND_US, plans
from ..domain.plans import ApiKey
from ..store import api_keys
from ..vault import Vault


class TokenKeysApi(TokenKeysServiceServicer):
    """Keeps the keys that sign tokens to itself, and shows what verifies them."""

    def __init__(self, chassis: Chassis, vault: Vault) -> None:
        self.transact = chassis.transact
        self.read = chassis.read
        self.vault = vault
        self.opened: dict[int, ECKey] = {}

    async def known(self) -> list[keys.SigningKey]:
        """Lists the keys that are published; makes the first when there is none."""
        now = now_us()
        found = keys.published(await self.read(keys.signing_keys), now)
        if not found:
            sealed = keys.seal_key(self.vault, keys.new_key())
            found = await self.transact(keys.add_key, sealed, 1, now, now)
        return found

    async def signing(self) -> ECKey:
        """Gives the key that signs now."""
        return self.open(keys.signing(await self.known(), now_us()))

    async def rotate(self, lead_us: int) -> tuple[ECKey, int]:
        """Makes the next key; gives it, and from when on it signs: not before verifiers know it."""
        known, now = await self.known(), now_us()
        keys.must_have_room(known)
        sealed, number = keys.seal_key(self.vault, keys.new_key()), known[0].number + 1
        signs_from = now + max(lead_us, keys.LEAST_LEAD_US)
        added, *_ = await self.transact(keys.add_key, sealed, number, now, signs_from)
        return self.open(added), added.signs_from_us

    def open(self, key: keys.SigningKey) -> ECKey:
        found = self.opened.get(key.number)
        if found is None:
            found = self.opened[key.number] = keys.open_key(self.vault, key)
        return found

    async def public(self) -> list[pb.TokenKey]:
        """Lists the keys, the one that signs now first."""
        known = await self.known()
        first = keys.signing(known, now_us())
        others = [key for key in known if key is not first]
        return [to_jwk(self.open(key)) for key in (first, *others)]

    async def ListTokenKeys(
        self, request: pb.ListTokenKeysRequest, context: Context
    ) -> pb.ListTokenKeysResponse:
        return pb.ListTokenKeysResponse(keys=await self.public())


class TokenExchangeApi(TokenExchangeServiceServicer):
    """Trades what an app shows at the edge for what the edge may show inside."""

    def __init__(self, chassis: Chassis, tokens: TokenKeysApi) -> None:
        self.read = chassis.read
        self.transact = chassis.transact
        self.tokens = tokens
        self.verifier = TokenVerifier(TokenKeys(tokens.public))

    async def ExchangeToken(
        self, request: pb.ExchangeTokenRequest, context: Context
    ) -> pb.ExchangeTokenResponse:
        if request.access_token.startswith(plans.PREFIX):
            return await self.of_key(request.access_token)
        user, expires_at_s = await self.verifier.verify_access(request.access_token)
        now = now_us()
        await self.read(credentials.must_be_live, user.session_id, now)
        life_s = min(int(expires_at_s) - now // SECOND_US, keys.INTERNAL_TOKEN_LIFE_S)
        key = await self.tokens.signing()
        return pb.ExchangeTokenResponse(
            internal_token=keys.internal_token(user, caller().workload, key, now, life_s),
            expires_in=life_s,
            subject=user.user_id,
        )

    async def of_key(self, secret: str) -> pb.ExchangeTokenResponse:
        """Trades an API key. To other services it is a user of its own, with a session that lasts
        until the key is revoked.
        """
        found = await self.read(api_keys.find, credentials.digest(secret))
        if found is None:
            raise Unauthenticated("API_KEY_INVALID", "The API key is not valid.")
        now, life_s = now_us(), keys.INTERNAL_TOKEN_LIFE_S
        user = User(
            user_id=found.id,
            session_id=found.id,
            scopes=frozenset(found.scopes),
            authenticated_at=now // SECOND_US,
            is_key=True,
        )
        signing = await self.tokens.signing()
        return pb.ExchangeTokenResponse(
            internal_token=keys.internal_token(user, caller().workload, signing, now, life_s),
            expires_in=life_s,
            subject=found.id,
            plan=pb.KeyPlan(
                per_second=found.plan.per_second,
                burst=found.plan.burst,
                allowance=allowance(found, now),
            ),
        )

    async def CountUses(
        self, request: pb.CountUsesRequest, context: Context
    ) -> pb.CountUsesResponse:
        now = now_us()
        key = await self.transact(api_keys.count, request.key_id, request.uses, now)
        return pb.CountUsesResponse(allowance=allowance(key, now) if key else None)


def allowance(key: ApiKey, now: int) -> pb.Allowance:
    left, seconds = key.left(now)
    return pb.Allowance(remaining=left, resets_in=seconds)


def to_jwk(key: ECKey) -> pb.TokenKey:
    return ParseDict(key.as_dict(private=False), pb.TokenKey())
