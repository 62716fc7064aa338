-- Version 9: bulk commands.

-- A command's record is JSON; beside it what it is found and kept by. Its version is the condition of each write.
CREATE TABLE bulk (
    id BLOB PRIMARY KEY,
    version INTEGER NOT NULL,
    -- NULL while it goes on.
    ended_at INTEGER,
    record TEXT NOT NULL
) WITHOUT ROWID;

CREATE INDEX bulk_open ON bulk (id) WHERE ended_at IS NULL;
CREATE INDEX bulk_ended ON bulk (ended_at) WHERE ended_at IS NOT NULL;
