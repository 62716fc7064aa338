#!/usr/bin/env python3
"""Lifecycles a second of Baton and of a bare table in PostgreSQL, in turn on this machine.

    tests/postgres.py target/release/baton [--rounds 5] [--seconds 6] [--clients 8] [--connections 64]

The table is what is usually written by hand: a task is inserted, claimed with FOR UPDATE SKIP LOCKED, and completed in a transaction that also
inserts its output. It keeps no history, no lists by worker or domain, no leases that are taken back, and speaks no HTTP. Both sync each commit
(`synchronous_commit = on`, `durability = "full"`), on the disk of --dir. pgbench drives the one, `baton bench` the other.

Needs PostgreSQL with pgbench (Debian: postgresql). Started as root, PostgreSQL runs as the user `postgres`.
"""

import argparse
import glob
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

SCHEMA = """
CREATE TABLE task (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state int NOT NULL DEFAULT 0, priority int NOT NULL DEFAULT 2,
  queue text NOT NULL, run_after timestamptz NOT NULL DEFAULT now(), attempt int NOT NULL DEFAULT 0, worker text, params jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX task_ready ON task (queue, priority, run_after, id) WHERE state = 0;
INSERT INTO task (queue, params) SELECT 'bench', '{"file":"in/0001.png","width":320}' FROM generate_series(1, 1000);
CREATE TABLE generation (task bigint PRIMARY KEY REFERENCES task, worker text NOT NULL, result jsonb NOT NULL, at timestamptz NOT NULL DEFAULT now());
"""

LIFECYCLE = r"""
INSERT INTO task (queue, params) VALUES ('bench', '{"file":"in/0001.png","width":320}');
UPDATE task SET state = 1, attempt = attempt + 1, worker = 'w-' || :client_id, updated_at = now() WHERE id = (SELECT id FROM task
  WHERE state = 0 AND queue = 'bench' AND run_after <= now() ORDER BY priority, run_after, id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id AS claimed \gset
BEGIN;
UPDATE task SET state = 2, updated_at = now() WHERE id = :claimed AND state = 1;
INSERT INTO generation (task, worker, result) VALUES (:claimed, 'w-' || :client_id, '{"ok": true}');
COMMIT;
"""


def tool(name):
    found = shutil.which(name) or next(iter(sorted(glob.glob(f'/usr/lib/postgresql/*/bin/{name}'), reverse=True)), None)
    if found is None:
        sys.exit(f'{name} is not there: install PostgreSQL (Debian: apt-get install postgresql)')
    return found


class Postgres:
    """A server of its own, on a socket in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.data = os.path.join(folder, 'data')
        self.as_user = []
        if os.geteuid() == 0:
            self.as_user = ['runuser', '-u', 'postgres', '--']
            shutil.chown(folder, 'postgres')
        self.run(tool('initdb'), '--pgdata', self.data, '--auth', 'trust', '--username', 'bench', '--no-locale', '--encoding', 'UTF8')
        options = f"-k {folder} -c listen_addresses='' -c shared_buffers=256MB -c synchronous_commit=on -c fsync=on"
        self.run(tool('pg_ctl'), '--pgdata', self.data, '--wait', '--log', os.path.join(folder, 'log'), '--options', options, 'start')
        self.run(tool('psql'), '--host', folder, '--username', 'bench', '--quiet', '--command', SCHEMA, 'postgres')
        self.script = os.path.join(folder, 'lifecycle.sql')
        with open(self.script, 'w', encoding='utf-8') as file:
            file.write(LIFECYCLE)
        os.chmod(self.script, 0o644)

    def run(self, *command):
        ran = subprocess.run([*self.as_user, *command], capture_output=True, text=True, check=False, cwd=self.folder)
        if ran.returncode != 0:
            sys.exit(f'{command[0]} failed: {ran.stderr.strip()}')
        return ran.stdout

    def lifecycles(self, clients, seconds):
        told = self.run(tool('pgbench'), '--host', self.folder, '--username', 'bench', '--no-vacuum', '--client', str(clients), '--jobs', '2',
                        '--time', str(seconds), '--protocol', 'prepared', '--file', self.script, 'postgres')
        return float(re.search(r'^tps = ([0-9.]+)', told, re.MULTILINE)[1])

    def stop(self):
        self.run(tool('pg_ctl'), '--pgdata', self.data, '--wait', '--mode', 'fast', 'stop')


def baton(program, connections, seconds, folder):
    command = [program, 'bench', '--only', 'lifecycle', '--connections', str(connections), '--duration', f'{seconds}s', '--dir', folder, '-o', 'json']
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        sys.exit(f'baton bench failed: {ran.stderr.strip()}')
    return next(phase['lifecycles_per_second'] for phase in json.loads(ran.stdout)['phases'] if phase['name'] == 'lifecycle')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('program', help='the release build of baton')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--seconds', type=int, default=6, help='of each of the two in each round')
    parser.add_argument('--clients', type=int, default=8, help='connections of PostgreSQL')
    parser.add_argument('--connections', type=int, default=64, help='connections of Baton')
    parser.add_argument('--dir', help='where both keep their files, instead of the temporary folder')
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix='baton-postgres-', dir=told.dir) as folder:
        os.chmod(folder, 0o755)
        postgres = Postgres(folder)
        try:
            postgres.lifecycles(told.clients, 2)
            ratios = []
            for number in range(told.rounds):
                other = postgres.lifecycles(told.clients, told.seconds)
                time.sleep(1)
                own = baton(os.path.abspath(told.program), told.connections, told.seconds, told.dir or tempfile.gettempdir())
                ratios.append(own / other)
                print(f'round {number + 1}: baton {own:,.0f} a second, PostgreSQL {other:,.0f}: {own / other:.2f}', flush=True)
            print(f'median: {statistics.median(ratios):.2f}')
        finally:
            postgres.stop()


if __name__ == '__main__':
    main()
