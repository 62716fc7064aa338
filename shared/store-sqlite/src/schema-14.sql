-- Small documents that a server keeps for itself: rules of alerts and how they stand, webhooks and what is on its way to them.
CREATE TABLE document (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
