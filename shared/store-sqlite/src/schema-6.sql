-- Version 6: tasks that are to be started by a time, tasks of which there is one at a time, and what workers take.

-- Until when the task is to be started; NULL for most, which are worth starting at any time.
ALTER TABLE task ADD COLUMN start_by INTEGER;

-- What was not started yet, by when it expires.
CREATE INDEX task_expiring ON task (start_by)
    WHERE start_by IS NOT NULL AND state IN (0, 5, 6) AND attempt = forgiven;

-- The unique key that the task was created with, and for how long it holds it, as JSON.
ALTER TABLE task ADD COLUMN only_one TEXT;

-- Who was given a key last. Whether that task holds it still, its own row says.
CREATE TABLE unique_key (
    project      TEXT    NOT NULL,
    queue        TEXT    NOT NULL,
    key          TEXT    NOT NULL,
    task         BLOB    NOT NULL,
    free_at      INTEGER,                   -- when it is free whatever becomes of the task, if a time says so
    PRIMARY KEY (project, queue, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX unique_key_free ON unique_key (free_at) WHERE free_at IS NOT NULL;

-- What the latest claims of a worker name, as JSON; null if it has not claimed. Written when a claim takes what is not there, and
-- once an hour.
ALTER TABLE worker ADD COLUMN takes TEXT;
