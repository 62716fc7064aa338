-- Version 15: settings that were changed while servers ran.

INSERT INTO setting (n, body) VALUES
    (1, '{"version":2,"values":{"log.level":{"value":"debug","set_at":"1970-01-01T00:00:03Z","set_by":"ada","reason":"a closer look"}},"history":[{"key":"log.level","to":"warn","at":"1970-01-01T00:00:02Z"},{"key":"log.level","from":"warn","to":"debug","at":"1970-01-01T00:00:03Z","by":"ada","reason":"a closer look"}]}');
