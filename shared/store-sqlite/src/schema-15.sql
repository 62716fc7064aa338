-- Version 15. Settings that were changed while servers ran, with the latest changes: one record, as JSON.
CREATE TABLE setting (
    n    INTEGER PRIMARY KEY CHECK (n = 1),
    body TEXT NOT NULL
) STRICT;
