-- Version 13: the one order of all events, which common-from-13.sql has, and what the time line alone tells.

INSERT INTO happened (k, what) VALUES
    (500 << 15, '{"what":"server_started","version":"0.1.0"}'),
    (1000 << 15, '{"what":"worker_started","worker":"w1","session":"00000000-03e8-7000-8000-000000000051"}'),
    (4000 << 15, '{"what":"worker_lost","worker":"w9","tasks":2,"reason":"heartbeat_missed"}');
