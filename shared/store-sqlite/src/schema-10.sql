-- Version 10: supply, queues that refill themselves.

CREATE TABLE supply (
    queue TEXT PRIMARY KEY,
    -- All of it, as JSON.
    body  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
