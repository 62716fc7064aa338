-- Version 8: schedules, tasks that the clock creates.

CREATE TABLE schedule (
    project TEXT NOT NULL,
    name    TEXT NOT NULL,
    -- All of it, as JSON.
    body    TEXT NOT NULL,
    -- When it is due; NULL while it is paused and once it has ended.
    due_at  INTEGER,
    PRIMARY KEY (project, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX schedule_due ON schedule (due_at, project, name) WHERE due_at IS NOT NULL;
