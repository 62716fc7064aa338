-- Version 14: documents that a server keeps for itself. What they say, the store does not read.

INSERT INTO document (kind, name, value) VALUES
    ('alert', 'slow', '{"name":"slow","kind":"oldest_ready","above":600.0,"below":300.0,"for_seconds":60.0,"ends_after_seconds":60.0}'),
    ('alert/standing', 'slow', '{"since":"1970-01-01T00:00:04Z"}'),
    ('webhook', 'chat', '{"name":"chat","url":"https://example.com/hook"}');
