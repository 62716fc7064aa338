-- What every version wrote alike: five tasks, one in each state that there was at first, with all that belongs to them.
-- Task n has the id 00000000-03e8-7000-8000-0000000000nn. All are created in second 1, claimed in second 2.

INSERT INTO queue (name, paused, changed_by, changed_at) VALUES ('default', 0, NULL, 1000);

-- A worker that has beaten once, and says what it runs.
INSERT INTO worker (id, session, superseded, started_at, seen_at, last_beat_at, capacity, running, readings, labels, directive)
VALUES ('w1', x'0000000003e870008000000000000051', '[]', 1000, 2000, 1500, 2,
        '[{"task":"00000000-03e8-7000-8000-000000000002","attempt":1,"progress":0.5}]',
        '{"vram_used_mb":812.5}', '{"host":"a"}', 0);

-- Waits; its creation may be asked for again by its key.
INSERT INTO task (n, id, state, priority, queue, task_type, project, run_after, attempt, forgiven, max_attempts, events,
                  created_at, updated_at, params)
VALUES (1, x'0000000003e870008000000000000001', 0, 2, 'default', 'render', 'film', 1000, 0, 0, 3, 1, 1000, 1000, '{"scene":1}');
INSERT INTO idempotency (key, digest, answer, created_at)
-- The digest is the first half of the SHA-256 of ["same"].
VALUES ('key-1', x'114dde50ef7b86181dee00a9026cec19',
        '[{"Ok":{"id":"00000000-03e8-7000-8000-000000000001","created_at":"1970-01-01T00:00:01Z","run_after":"1970-01-01T00:00:01Z","new":true}}]',
        1000);

-- Runs.
INSERT INTO task (n, id, state, priority, queue, task_type, project, run_after, attempt, forgiven, max_attempts, events,
                  worker, session, claimed_at, timeout_at, request, created_at, updated_at, timeout_ms, params)
VALUES (2, x'0000000003e870008000000000000002', 1, 1, 'default', 'render', 'film', 1000, 1, 0, 3, 2,
        'w1', x'0000000003e870008000000000000051', 2000, 602000, 'r-2', 1000, 2000, 600000, '{"scene":2}');
INSERT INTO claim_request (worker, request, created_at) VALUES ('w1', 'r-2', 2000);

-- Completed.
INSERT INTO task (n, id, state, priority, queue, task_type, project, run_after, attempt, forgiven, max_attempts, events,
                  worker, session, claimed_at, ended, generation, output, created_at, updated_at, finished_at, params)
VALUES (3, x'0000000003e870008000000000000003', 2, 2, 'default', 'render', 'film', 1000, 1, 0, 3, 3,
        'w1', x'0000000003e870008000000000000051', 2000, 1, x'0000000003e870008000000000000063',
        x'000102030405060708090a0b0c0d0e0f', 1000, 3000, 3000, '{"scene":3}');
INSERT INTO generation (k, n, id, task, project, queue, task_type, attempt, worker, created_at, started_at, finished_at,
                        location, kind, metadata, result)
VALUES (3000 << 15, 3, x'0000000003e870008000000000000063', x'0000000003e870008000000000000003', 'film', 'default', 'render',
        1, 'w1', 1000, 2000, 3000, 'scenes/3.png', 'image/png', '{"w":640}', '[1,2.50]');

-- Failed for good.
INSERT INTO task (n, id, state, priority, queue, task_type, project, run_after, attempt, forgiven, max_attempts, events,
                  worker, session, claimed_at, ended, created_at, updated_at, finished_at, params)
VALUES (4, x'0000000003e870008000000000000004', 3, 2, 'default', 'render', 'film', 1000, 1, 0, 1, 3,
        'w1', x'0000000003e870008000000000000051', 2000, 2, 1000, 3500, 3500, '{"scene":4}');
INSERT INTO task_error (n, error) VALUES (4, '{"message":"no such scene","code":"E_SCENE","details":{"scene":4}}');

-- Called off, with all that a task could say; its params lie apart, as it has a description.
INSERT INTO task (n, id, state, priority, queue, task_type, project, run_after, attempt, forgiven, max_attempts, events,
                  created_at, updated_at, finished_at, timeout_ms, domain, assigned_by, backoff, drift_score, params)
VALUES (5, x'0000000003e870008000000000000005', 4, 0, 'default', 'render', 'film', 1000, 0, 0, 9, 2,
        1000, 4000, 4000, 60000, 'night', 'ada',
        '{"base_seconds":1.0,"factor":3.0,"max_seconds":60.0,"jitter":0.0}', 0.25, NULL);
INSERT INTO task_body (n, params, description) VALUES (5, '{"scene":5}', 'the last scene');

-- The histories: k is n << 16 with a number from 1 on.
INSERT INTO event (k, at, kind, from_state, to_state, attempt, worker, session, detail) VALUES
    ((1 << 16) + 1, 1000, 0, NULL, 0, 0, NULL, NULL, NULL),
    ((2 << 16) + 1, 1000, 0, NULL, 0, 0, NULL, NULL, NULL),
    ((2 << 16) + 2, 2000, 1, 0, 1, 1, 'w1', x'0000000003e870008000000000000051', NULL),
    ((3 << 16) + 1, 1000, 0, NULL, 0, 0, NULL, NULL, NULL),
    ((3 << 16) + 2, 2000, 1, 0, 1, 1, 'w1', x'0000000003e870008000000000000051', NULL),
    ((3 << 16) + 3, 3000, 2, 1, 2, 1, 'w1', NULL, NULL),
    ((4 << 16) + 1, 1000, 0, NULL, 0, 0, NULL, NULL, NULL),
    ((4 << 16) + 2, 2000, 1, 0, 1, 1, 'w1', x'0000000003e870008000000000000051', NULL),
    ((4 << 16) + 3, 3500, 3, 1, 3, 1, 'w1', NULL,
     '{"error":{"message":"no such scene","code":"E_SCENE","details":{"scene":4}}}'),
    ((5 << 16) + 1, 1000, 0, NULL, 0, 0, NULL, NULL, '{"by":"ada"}'),
    ((5 << 16) + 2, 4000, 6, 0, 4, 0, NULL, NULL, '{"by":"ada","reason":"cut"}');

INSERT INTO tally (queue, task_type, state, tasks) VALUES
    ('default', 'render', 0, 1), ('default', 'render', 1, 1), ('default', 'render', 2, 1), ('default', 'render', 3, 1),
    ('default', 'render', 4, 1);
INSERT INTO histogram (hour, queue, what, bucket, tasks) VALUES (0, 'default', 0, 80, 3), (0, 'default', 1, 80, 1);

INSERT INTO log (k, at, taken_at, worker, task, level, source, message, metadata)
VALUES (2500 << 15, 2500, 2500, 'w1', x'0000000003e870008000000000000002', 1, 'stderr', 'half way', '{"frame":12}');
