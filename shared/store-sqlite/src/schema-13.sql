-- Version 13. The order of all events, which until now were in order within their tasks alone: one row a commit, with the keys
-- of its events as the differences from one to the next (feed.rs). seq is the position of the first one; those of the others
-- follow. at is the time of the latest of them. What was there before has no place in it.
CREATE TABLE feed (
    seq  INTEGER PRIMARY KEY,
    at   INTEGER NOT NULL,
    keys BLOB    NOT NULL
) STRICT;

-- What the time line alone tells, as JSON: k is the time << 15 with a number within the millisecond.
CREATE TABLE happened (
    k    INTEGER PRIMARY KEY,
    what TEXT NOT NULL
) STRICT;
