-- Version 4: tasks that wait for others.

-- What a task depends on, in its order. By id, as a dependency that has ended may be removed before the task that waited for it
-- and the number of a removed row may be given out again.
CREATE TABLE dependency (
    dependant  INTEGER NOT NULL,  -- the row of the task that waits
    place      INTEGER NOT NULL,
    dependency BLOB    NOT NULL,  -- the id of the task that it waits for
    PRIMARY KEY (dependant, place)
) STRICT, WITHOUT ROWID;
-- Who is to hear of a task's end.
CREATE INDEX dependency_of ON dependency (dependency, dependant);

-- The rows of the blocked tasks. A table and no index on task.state: SQLite would ask at each change of every task whether it
-- belongs in there.
CREATE TABLE blocked (n INTEGER PRIMARY KEY) STRICT;

-- The rows of finished tasks that others depend on. Their task.finished_at is NULL, so that no purge looks at them (see kept.rs).
CREATE TABLE kept (n INTEGER PRIMARY KEY) STRICT;

-- task.state: 5 blocked.

-- How a task is linked with others (see links.rs); NULL for those without links.
ALTER TABLE task ADD COLUMN links INTEGER;
