-- Version 11: what queues give to tasks that do not say, tasks that are kept for a time of their own, and batches.

-- What the queue gives, as JSON; NULL if nothing.
ALTER TABLE queue ADD COLUMN defaults TEXT;

-- For how many milliseconds the task is kept once it has ended; NULL for as long as all are. One that says has no finished_at, so that
-- no purge looks at it (see kept.rs); when it goes stands in `going`, from its end on.
ALTER TABLE task ADD COLUMN retention INTEGER;
CREATE TABLE going (n INTEGER PRIMARY KEY, at INTEGER NOT NULL) STRICT;
CREATE INDEX going_at ON going (at);
