-- Version 2: callers' tokens, the audit log, and the projects that workers and claims are bound to.

-- At most ten thousand, all of which the store holds in memory too. Of a secret there is its digest only.
CREATE TABLE token (
    id                  BLOB    PRIMARY KEY,
    digest              BLOB    NOT NULL,
    name                TEXT    NOT NULL,
    grants              TEXT    NOT NULL,  -- JSON: scopes, queues, project
    requests_per_second INTEGER,
    created_at          INTEGER NOT NULL,
    created_by          TEXT,
    expires_at          INTEGER,
    revoked_at          INTEGER,
    last_used_at        INTEGER
) STRICT, WITHOUT ROWID;

-- What operators did, in the order of time: k is at << 15 with a number within the millisecond. Both indexes end in k.
CREATE TABLE audit (
    k          INTEGER PRIMARY KEY,
    id         BLOB    NOT NULL UNIQUE,
    at         INTEGER NOT NULL,
    action     TEXT    NOT NULL,
    target     TEXT    NOT NULL,
    token      BLOB,
    token_name TEXT,
    request    TEXT,
    outcome    INTEGER                     -- the HTTP status of the answer; null until there is one
) STRICT;
CREATE INDEX audit_by_token ON audit (token) WHERE token IS NOT NULL;
CREATE INDEX audit_by_action ON audit (action);

-- The project that a worker's name belongs to; null for none.
ALTER TABLE worker ADD COLUMN project TEXT;

-- Where a claim for one project looks, so that it never walks past others' tasks. Tasks of the project that those are
-- in who name none are left out: they pay half a microsecond a lifecycle instead of three, and a claim for that project
-- goes down task_ready.
CREATE INDEX task_ready_project ON task (queue, project, priority, run_after, id)
    WHERE state = 0 AND project <> 'default';
CREATE INDEX task_ready_project_type ON task (queue, project, task_type, priority, run_after, id)
    WHERE state = 0 AND project <> 'default';
