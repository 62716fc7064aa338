#!/usr/bin/env python3
"""A file of an earlier schema with many tasks, and what it holds: for measuring how long it takes to bring it up to date.

    tests/old_file.py make old.db --tasks 1000000 --schema 1
    tests/old_file.py tell old.db

`make` writes a file as a server of that schema left it: of ten tasks eight completed, one failed and one waiting, each with its history, its
generation and a log line. `tell` prints how many there are of what, with checksums of ids and states, of histories and of generations: the
same before and after. In between, let the server open it, and stop it: `baton serve --store sqlite:old.db`.

Needs an SQLite of 3.37 or later in Python.
"""

import argparse
import hashlib
import os
import sqlite3
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SCHEMA = os.path.join(HERE, '..', 'shared', 'store-sqlite', 'src')
#: "Batn".
APPLICATION = 0x4261746E
#: 2023-11-14, in milliseconds.
BEGIN = 1_700_000_000_000

TASKS = """
WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < :tasks)
INSERT INTO task (n, id, state, priority, queue, task_type, project, run_after, attempt, forgiven, max_attempts, events,
    worker, claimed_at, ended, generation, output, created_at, updated_at, finished_at, params)
SELECT n, bytes(printf('01a0%08x70008000%08x0000', n, n)),
    CASE WHEN n % 10 = 9 THEN 0 WHEN n % 10 = 8 THEN 3 ELSE 2 END,
    n % 4, 'q' || (n % 7), 't' || (n % 5), iif(n % 3 = 0, 'default', 'film'), :begin + n, n % 10 < 9, 0, 3, iif(n % 10 = 9, 1, 3),
    iif(n % 10 = 9, NULL, 'w' || (n % 100)), iif(n % 10 = 9, NULL, :begin + n + 100),
    CASE WHEN n % 10 = 9 THEN NULL WHEN n % 10 = 8 THEN 2 ELSE 1 END,
    iif(n % 10 < 8, bytes(printf('01b0%08x70008000%08x0000', n, n)), NULL), iif(n % 10 < 8, bytes(printf('%032x', n)), NULL),
    :begin + n, :begin + n + 200, iif(n % 10 = 9, NULL, :begin + n + 200), '{"scene":"shot-010","frame":' || n || '}'
FROM counted
"""

REST = [
    'INSERT INTO event (k, at, kind, to_state, attempt) SELECT n << 16 | 1, created_at, 0, 0, 0 FROM task',
    'INSERT INTO event (k, at, kind, from_state, to_state, attempt, worker) '
    'SELECT n << 16 | 2, claimed_at, 1, 0, 1, 1, worker FROM task WHERE state <> 0',
    'INSERT INTO event (k, at, kind, from_state, to_state, attempt, worker) '
    'SELECT n << 16 | 3, finished_at, state, 1, state, 1, worker FROM task WHERE state <> 0',
    """INSERT INTO task_error (n, error) SELECT n, '{"message":"it broke"}' FROM task WHERE state = 3""",
    'INSERT INTO generation (k, n, id, task, project, queue, task_type, attempt, worker, created_at, started_at, finished_at, '
    """location, kind, result) SELECT finished_at << 15, n, generation, id, project, queue, task_type, 1, worker, created_at,
    claimed_at, finished_at, '/out/' || n, 'image', '{"samples":256}' FROM task WHERE state = 2""",
    'INSERT INTO tally (queue, task_type, state, tasks) SELECT queue, task_type, state, count(*) FROM task GROUP BY 1, 2, 3',
    'INSERT INTO queue (name, paused, changed_at) SELECT DISTINCT queue, 0, 1 FROM task',
    'INSERT INTO worker (id, superseded, started_at, seen_at, capacity, readings, labels, directive) '
    "SELECT DISTINCT worker, '[]', 1, :begin, 2, '{}', '{}', 0 FROM task WHERE worker NOT NULL",
    'INSERT INTO log (k, at, taken_at, worker, task, level, source, message) '
    "SELECT iif(:schema < 3, n, (:begin + n) << 15), :begin + n, :begin + n, 'w' || (n % 100), id, 1, 'stderr', "
    "'frame ' || n || ' of shot-010 was rendered in 12.5 s with 256 samples' FROM task",
]


def make(path, tasks, schema):
    if os.path.exists(path):
        sys.exit(f'expected no file at {path}, got one')
    begun = time.monotonic()
    db = sqlite3.connect(path, isolation_level=None)
    db.create_function('bytes', 1, bytes.fromhex, deterministic=True)
    for pragma in ['journal_mode = WAL', 'synchronous = OFF', 'cache_size = -262144']:
        db.execute(f'PRAGMA {pragma}')
    for step in range(1, schema + 1):
        with open(os.path.join(SCHEMA, 'schema.sql' if step == 1 else f'schema-{step}.sql'), encoding='utf-8') as file:
            db.executescript(file.read())
    given = {'tasks': tasks, 'begin': BEGIN, 'schema': schema}
    db.execute('BEGIN')
    for statement in [TASKS, *REST]:
        db.execute(statement, given)
    db.execute('COMMIT')
    db.execute(f'PRAGMA user_version = {schema}')
    db.execute(f'PRAGMA application_id = {APPLICATION}')
    db.execute('PRAGMA wal_checkpoint(TRUNCATE)')
    db.close()
    print(f'{tasks} tasks of schema {schema}, {os.path.getsize(path) >> 20} MiB, in {time.monotonic() - begun:.0f} s')


def tell(path):
    if not os.path.exists(path):
        sys.exit(f'expected a file at {path}, got none')
    db = sqlite3.connect(f'file:{path}?mode=ro', uri=True)
    print('schema', db.execute('PRAGMA user_version').fetchone()[0])
    for state, count in db.execute('SELECT state, count(*) FROM task GROUP BY state ORDER BY state'):
        print('tasks of state', state, count)
    for what, columns, order in [
        ('task', 'id, state, attempt, queue, task_type, project, params', 'n'),
        ('event', 'k, at, kind, from_state, to_state, attempt, worker', 'k'),
        ('generation', 'task, id, location, result', 'n'),
        # The order of log lines is another one since the third schema.
        ('log', 'taken_at, worker, task, message', 'taken_at, task'),
    ]:
        digest, count = hashlib.sha256(), 0
        for row in db.execute(f'SELECT {columns} FROM {what} ORDER BY {order}'):
            digest.update(repr(row).encode())
            count += 1
        print(what, count, digest.hexdigest()[:32])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('command', choices=['make', 'tell'])
    parser.add_argument('path')
    parser.add_argument('--tasks', type=int, default=1_000_000)
    parser.add_argument('--schema', type=int, default=1)
    given = parser.parse_args()
    if given.command == 'make':
        make(given.path, given.tasks, given.schema)
    else:
        tell(given.path)


if __name__ == '__main__':
    main()
