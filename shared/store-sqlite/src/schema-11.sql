-- Version 11: what queues give to tasks that do not say, tasks that are kept for a time of their own, and batches.

-- What the queue gives, as JSON; NULL if nothing.
ALTER TABLE queue ADD COLUMN defaults TEXT;

-- For how many milliseconds the task is kept once it has ended; NULL for as long as all are. One that says has no finished_at, so that
-- no purge looks at it (see kept.rs); when it goes stands in `going`, from its end on.
ALTER TABLE task ADD COLUMN retention INTEGER;
CREATE TABLE going (n INTEGER PRIMARY KEY, at INTEGER NOT NULL) STRICT;
CREATE INDEX going_at ON going (at);

-- The batch that the task is one of; NULL for most.
ALTER TABLE task ADD COLUMN batch BLOB;

-- A batch's record is JSON; beside it how many of its tasks are in which state, kept in step by the commits that change them.
CREATE TABLE batch (
    id        BLOB PRIMARY KEY,
    project   TEXT    NOT NULL,
    tasks     INTEGER NOT NULL DEFAULT 0,   -- all of them; those that are none of the following are queued
    blocked   INTEGER NOT NULL DEFAULT 0,
    running   INTEGER NOT NULL DEFAULT 0,
    completed INTEGER NOT NULL DEFAULT 0,
    failed    INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    ended_at  INTEGER,                      -- when all had ended for the last time; NULL while some have not
    record    TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX batch_ended ON batch (ended_at) WHERE ended_at IS NOT NULL;
