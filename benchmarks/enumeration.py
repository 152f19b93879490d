"""Does the time of an answer tell whether an address is known? It should not.

Signs in 200 times with a wrong password of somebody, and 200 times as nobody, in turn, through the
whole door of users and its real costs; prints both medians and by how much they differ.

    python -m benchmarks.enumeration [tries]
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bank.users.v1 import users_pb2 as pb
from bank.users.v1.users_pb2_grpc import UsersServiceStub
from mesh.errors import Unauthenticated
from mesh.testing.harness import running
from services.users import domain
from services.users.app import build

TRIES = 200
MOST = 0.10


async def measure(tries: int) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {"known": [], "unknown": []}
    # Each address is guessed at less often than would slow the guesses down.
    people = [f"known-{number}@example.com" for number in range(tries // domain.FREE_TRIES + 1)]
    with tempfile.TemporaryDirectory() as folder:
        async with running(build, Path(folder)) as users:
            stub = users.stub(UsersServiceStub)
            for email in people:
                company = pb.NewCompany(legal_name="Ana ME", cnpj="16.727.230/0001-97")
                await stub.CreateUser(
                    pb.CreateUserRequest(
                        email=email,
                        password="correct horse battery",  # noqa: S106 - a benchmark's
                        full_name="Ana",
                        cpf="529.982.247-25",
                        company=company,
                    )
                )
            for number in range(tries):
                known = people[number // domain.FREE_TRIES]
                for kind, email in (("known", known), ("unknown", f"un{known}")):
                    began = time.perf_counter()
                    try:
                        await stub.CreateSession(
                            pb.CreateSessionRequest(email=email, password="not the password")  # noqa: S106
                        )
                    except Unauthenticated:
                        took[kind].append(time.perf_counter() - began)
    return took


def main() -> int:
    took = asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else TRIES))
    known, unknown = (statistics.median(took[kind]) for kind in ("known", "unknown"))
    difference = abs(known - unknown) / known
    tries = len(took["known"])
    print(f"wrong password {known * 1e3:.2f} ms, unknown address {unknown * 1e3:.2f} ms,", end=" ")
    print(f"{difference:.1%} apart over {tries} tries each")
    return 0 if difference < MOST else 1


if __name__ == "__main__":
    sys.exit(main())
