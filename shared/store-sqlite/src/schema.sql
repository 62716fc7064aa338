-- Version 1. Times are milliseconds since 1970, spans are milliseconds, ids are their 16 bytes.

-- What transitions read and change, one small row a task, with params that are no larger than it. n numbers tasks in the order of their arrival.
CREATE TABLE task (
    n            INTEGER PRIMARY KEY,
    id           BLOB    NOT NULL UNIQUE,
    state        INTEGER NOT NULL,  -- 0 queued, 1 running, 2 completed, 3 failed, 4 cancelled
    priority     INTEGER NOT NULL,  -- 0 critical, 1 high, 2 normal, 3 low
    queue        TEXT    NOT NULL,
    task_type    TEXT    NOT NULL,
    project      TEXT    NOT NULL,
    run_after    INTEGER NOT NULL,
    attempt      INTEGER NOT NULL,
    forgiven     INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    events       INTEGER NOT NULL,
    worker       TEXT,              -- who holds it, or held it last
    session      BLOB,
    claimed_at   INTEGER,
    expires_at   INTEGER,
    timeout_at   INTEGER,
    request      TEXT,
    ended        INTEGER,           -- how the latest attempt ended; see codes.rs
    generation   BLOB,
    output       BLOB,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    finished_at  INTEGER,
    timeout_ms   INTEGER,
    domain       TEXT,
    assigned_by  TEXT,
    backoff      TEXT,              -- JSON; null for the default
    drift_score  REAL,
    digest       BLOB,              -- of the content, where the producer chose the id
    params       TEXT               -- null if they lie in task_body
) STRICT;

-- Where a claim looks: by queue, or by queue and type; in the order in which tasks are claimed.
CREATE INDEX task_ready ON task (queue, priority, run_after, id) WHERE state = 0;
CREATE INDEX task_ready_type ON task (queue, task_type, priority, run_after, id) WHERE state = 0;
-- Who holds what: a worker's active tasks are counted here and nowhere else.
CREATE INDEX task_leased ON task (worker) WHERE state = 1;
-- Lists. Each index ends in n, so that it gives a filter's tasks in the order of their arrival.
-- By state: running tasks are found by task_leased, completed ones by their generations, so that a task that goes the
-- usual way is moved between few indexes.
CREATE INDEX task_queued ON task (state) WHERE state = 0;
CREATE INDEX task_failed ON task (state) WHERE state = 3;
CREATE INDEX task_cancelled ON task (state) WHERE state = 4;
CREATE INDEX task_by_queue ON task (queue);
CREATE INDEX task_by_type ON task (task_type);
-- By worker within every 1,024 tasks: were it by worker alone, each claim of another worker would dirty another page of
-- the index, and each commit would write them all (a fifth of a lifecycle's cost with 64 workers).
CREATE INDEX task_by_worker ON task ((n >> 10), worker) WHERE worker IS NOT NULL;
CREATE INDEX task_by_domain ON task (domain) WHERE domain IS NOT NULL;
CREATE INDEX task_by_assigned_by ON task (assigned_by) WHERE assigned_by IS NOT NULL;
CREATE INDEX task_by_finished ON task (finished_at) WHERE finished_at IS NOT NULL;

-- What would make the row large that each transition writes anew: params of more than 1 KiB, and descriptions.
CREATE TABLE task_body (
    n           INTEGER PRIMARY KEY,
    params      TEXT NOT NULL,
    description TEXT
) STRICT;

-- The failure of the latest attempt that ended, where it failed.
CREATE TABLE task_error (
    n     INTEGER PRIMARY KEY,
    error TEXT NOT NULL
) STRICT;

-- The history: k is n << 16 | seq.
CREATE TABLE event (
    k          INTEGER PRIMARY KEY,
    at         INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    from_state INTEGER,
    to_state   INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    worker     TEXT,
    session    BLOB,
    detail     TEXT               -- JSON of the rest, if there is any
) STRICT;

-- Output records in the order of completion: k is finished_at << 15 with a number within the millisecond. The unique n is
-- the promise of one a task. Lists of them by queue,
-- type or worker look at a bounded number a page: an index for each would cost more than the record itself.
CREATE TABLE generation (
    k           INTEGER PRIMARY KEY,
    n           INTEGER NOT NULL UNIQUE,
    id          BLOB    NOT NULL UNIQUE,
    task        BLOB    NOT NULL,
    project     TEXT    NOT NULL,
    queue       TEXT    NOT NULL,
    task_type   TEXT    NOT NULL,
    attempt     INTEGER NOT NULL,
    worker      TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    started_at  INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    location    TEXT,
    kind        TEXT,
    metadata    TEXT,
    result      TEXT
) STRICT;

CREATE TABLE worker (
    id           TEXT PRIMARY KEY,
    session      BLOB,
    superseded   TEXT NOT NULL,     -- JSON list of earlier sessions, the latest last
    started_at   INTEGER NOT NULL,
    seen_at      INTEGER NOT NULL,  -- the last beat or, to the hour, the last claim
    last_beat_at INTEGER,
    capacity     INTEGER,
    running      TEXT,              -- JSON list; null if the worker does not say
    readings     TEXT NOT NULL,
    labels       TEXT NOT NULL,
    directive    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX worker_by_seen ON worker (seen_at);

CREATE TABLE queue (
    name       TEXT PRIMARY KEY,
    paused     INTEGER NOT NULL,
    changed_by TEXT,
    changed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Answers kept for requests that may come again.
CREATE TABLE idempotency (
    key        TEXT PRIMARY KEY,
    digest     BLOB    NOT NULL,
    answer     TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_created ON idempotency (created_at);

CREATE TABLE claim_request (
    worker     TEXT    NOT NULL,
    request    TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (worker, request)
) STRICT, WITHOUT ROWID;
CREATE INDEX claim_request_by_created ON claim_request (created_at);

-- For display only: kept in step by the commits that change tasks, decides nothing.
CREATE TABLE tally (
    queue     TEXT    NOT NULL,
    task_type TEXT    NOT NULL,
    state     INTEGER NOT NULL,
    tasks     INTEGER NOT NULL,
    PRIMARY KEY (queue, task_type, state)
) STRICT, WITHOUT ROWID;

CREATE TABLE histogram (
    hour   INTEGER NOT NULL,
    queue  TEXT    NOT NULL,
    what   INTEGER NOT NULL,        -- 0 wait, 1 run
    bucket INTEGER NOT NULL,
    tasks  INTEGER NOT NULL,
    PRIMARY KEY (queue, what, hour, bucket)
) STRICT, WITHOUT ROWID;
CREATE INDEX histogram_by_hour ON histogram (hour);

-- Log lines in the order of their times: k is at << 15 with a number within the millisecond.
CREATE TABLE log (
    k        INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    taken_at INTEGER NOT NULL,
    worker   TEXT    NOT NULL,
    task     BLOB,
    level    INTEGER NOT NULL,
    source   TEXT    NOT NULL,
    message  TEXT    NOT NULL,
    metadata TEXT
) STRICT;
CREATE INDEX log_by_taken ON log (taken_at);
CREATE INDEX log_by_worker ON log (worker);
CREATE INDEX log_by_task ON log (task) WHERE task IS NOT NULL;

-- One row, written to see whether the file can be written.
CREATE TABLE pulse (n INTEGER PRIMARY KEY, at INTEGER NOT NULL) STRICT;
