-- Version 17: who has asked a worker to drain or to stop, since when, and why.

UPDATE worker SET directive = 1, directed = '{"since":"1970-01-01T00:00:04Z","by":"ada","reason":"a new driver"}' WHERE id = 'w1';
INSERT INTO audit (k, id, at, action, target, token, token_name, request, outcome, asked_by, reason) VALUES
    (4000 << 15, x'0000000003e8700080000000000000b1', 4000, 'drain_worker', '/v1/workers/w1/drain', NULL, NULL, 'req-1', 200,
     'ada', 'a new driver'),
    -- About a task: from version 18 on, its time line tells it, too.
    ((4000 << 15) + 1, x'0000000003e8700080000000000000b2', 4000, 'cancel_task',
     '/v1/tasks/00000000-03e8-7000-8000-000000000005/cancel', NULL, NULL, 'req-2', 200, 'ada', 'cut');
