"""PostgreSQL alone with the rows of a payment, by `pgbench`: what the database could do.

    python -m benchmarks.pgbench [--clients 32] [--seconds 5] [--rounds 3]

The server is the embedded profile's, and syncs its commits. The script writes, in as many
transactions as services do, what one payment between two customers leaves behind: the transfer, its
saga and their events; the entry, its postings, balances and events; lines of two statements; a
message for each of the two. Its tables have the columns that matter, and no history.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import tempfile
from pathlib import Path

from mesh.supervisor.postgres import binaries
from mesh.testing.postgres import PostgresServer

TABLES = """
CREATE TABLE balances (id int PRIMARY KEY, balance bigint NOT NULL, version bigint NOT NULL);
INSERT INTO balances SELECT n, 1000000000, 0 FROM generate_series(1, 1000) AS n;
CREATE TABLE entries (id uuid PRIMARY KEY, at timestamptz NOT NULL);
CREATE TABLE postings (entry uuid NOT NULL, account int NOT NULL, amount bigint NOT NULL,
    PRIMARY KEY (account, entry));
CREATE TABLE transfers (id uuid PRIMARY KEY, key text UNIQUE, payer int, payee int, amount bigint,
    status text NOT NULL);
CREATE TABLE sagas (id uuid PRIMARY KEY, due_at timestamptz NOT NULL, step text NOT NULL);
CREATE TABLE outbox (id bigserial PRIMARY KEY, event uuid UNIQUE, payload bytea NOT NULL,
    sent_at timestamptz);
CREATE INDEX unsent ON outbox (id) WHERE sent_at IS NULL;
CREATE TABLE lines (account int, entry uuid, amount bigint, PRIMARY KEY (account, entry));
CREATE TABLE inbox (event uuid PRIMARY KEY, at timestamptz NOT NULL);
CREATE TABLE messages (id uuid PRIMARY KEY, account int, text text);
"""
SCRIPT = r"""
\set payer random(1, 1000)
\set payee 1 + mod(:payer, 1000)
\set least least(:payer, :payee)
\set most greatest(:payer, :payee)
SELECT gen_random_uuid() AS id \gset
BEGIN;
INSERT INTO transfers VALUES (:id::uuid, :id::uuid::text, :payer, :payee, 1, 'PENDING');
INSERT INTO sagas VALUES (:id::uuid, now(), 'post');
INSERT INTO outbox (event, payload) VALUES (gen_random_uuid(), repeat('x', 200)::bytea);
COMMIT;
BEGIN;
SELECT balance FROM balances WHERE id IN (:least, :most) ORDER BY id FOR UPDATE;
INSERT INTO entries VALUES (:id::uuid, now());
INSERT INTO postings VALUES (:id::uuid, :payer, -1), (:id::uuid, :payee, 1);
UPDATE balances SET balance = balance - 1, version = version + 1 WHERE id = :payer;
UPDATE balances SET balance = balance + 1, version = version + 1 WHERE id = :payee;
INSERT INTO outbox (event, payload) VALUES (gen_random_uuid(), repeat('x', 200)::bytea);
INSERT INTO outbox (event, payload) VALUES (gen_random_uuid(), repeat('x', 200)::bytea);
COMMIT;
BEGIN;
UPDATE transfers SET status = 'COMPLETED' WHERE id = :id::uuid;
DELETE FROM sagas WHERE id = :id::uuid;
INSERT INTO outbox (event, payload) VALUES (gen_random_uuid(), repeat('x', 200)::bytea);
COMMIT;
BEGIN;
INSERT INTO lines VALUES (:payer, :id::uuid, -1), (:payee, :id::uuid, 1);
COMMIT;
BEGIN;
INSERT INTO inbox VALUES (:id::uuid, now());
INSERT INTO messages VALUES (gen_random_uuid(), :payer, 'sent'),
    (gen_random_uuid(), :payee, 'came');
COMMIT;
"""


def run(server: PostgresServer, clients: int, seconds: int, rounds: int) -> None:
    host = server.new_database().partition("host=")[2]
    login = ["--host", host, "--username", "postgres"]
    with tempfile.TemporaryDirectory(prefix="pgbench-") as folder:
        tables, script = Path(folder, "tables.sql"), Path(folder, "payment.sql")
        tables.write_text(TABLES)
        script.write_text(SCRIPT)
        subprocess.run(
            [binaries() / "psql", *login, "-q", "-v", "ON_ERROR_STOP=1", "-f", tables, "test_1"],
            check=True,
        )
        command = [binaries() / "pgbench", *login, "-n", "-f", script, "-c", str(clients)]
        command += ["-j", "2", "-M", "prepared", "-T", str(seconds), "test_1"]
        rates = []
        for _ in range(rounds):
            told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            rates.append(float(re.findall(r"^tps = ([\d.]+)", told, re.MULTILINE)[0]))
            print(f"{rates[-1]:.0f}/s; load average {os.getloadavg()[0]:.1f}", flush=True)
    print(
        f"the rows of a payment, {clients} clients: {statistics.median(rates):.0f} payments/s"
        f" [{min(rates):.0f}-{max(rates):.0f}], five commits each"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    server = PostgresServer(sync=True)
    server.start()
    try:
        run(server, given.clients, given.seconds, given.rounds)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
