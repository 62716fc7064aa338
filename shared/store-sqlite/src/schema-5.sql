-- Version 5: limits that tasks share.

-- What a setting was before and after a request has changed it, as JSON.
ALTER TABLE audit ADD COLUMN change TEXT;

-- What is set, by what it holds for, such as queue/images/key/*; at most ten thousand, all of which the writing thread holds
-- in memory.
CREATE TABLE shared_limit (
    holds_for    TEXT    PRIMARY KEY,
    rules        TEXT    NOT NULL,          -- JSON
    changed_by   TEXT,
    reason       TEXT,
    changed_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Projects that have an owner; at most ten thousand, in memory, too.
CREATE TABLE project (
    name         TEXT    PRIMARY KEY,
    owner        TEXT    NOT NULL,
    changed_by   TEXT,
    reason       TEXT,
    changed_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- When the next start of a rate would come if starts came evenly, in microseconds; none of one that has rested.
CREATE TABLE rate_arrival (
    holds_for    TEXT    PRIMARY KEY,
    arrival      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

ALTER TABLE task ADD COLUMN concurrency_key TEXT;

-- The limit that the task waits at. Its state is 6 then: queued as far as anybody is told, and in none of the indexes that
-- claims go down. In state 0: the limit that has let go of it.
ALTER TABLE task ADD COLUMN waits_at TEXT;

-- Who waits at a limit, in the order in which they are let go: those that one claim may find and another may not have lines of
-- their own, so that none waits for a worker that never comes.
CREATE INDEX task_at_limit ON task (waits_at, queue, task_type, project, priority, run_after, id) WHERE state = 6;
-- Who was let go and has not been claimed.
CREATE INDEX task_let_go ON task (waits_at, queue, task_type, project, priority, run_after, id)
    WHERE state = 0 AND waits_at IS NOT NULL;
-- What waits in a queue besides what claims look at, to be counted and listed.
CREATE INDEX task_put_aside ON task (queue, priority, run_after, id) WHERE state = 6;
CREATE INDEX task_put_aside_listed ON task (state) WHERE state = 6;
