-- Version 3: why a queue is paused, who asked for what is audited, workers that end or share a name, tasks that were lost twice.

-- No task has named it: it goes when it is resumed.
INSERT INTO queue (name, paused, changed_by, changed_at, reason, used) VALUES
    ('gpu', 1, 'ada', 3000, 'the cards are hot', 0), ('alone', 0, NULL, 1000, NULL, 1);

INSERT INTO audit (k, id, at, action, target, token, token_name, request, outcome, asked_by, reason)
VALUES (3000 << 15, x'0000000003e8700080000000000000b1', 3000, 'pause_queue', '/v1/queues/gpu/pause', NULL, NULL, 'req-1', 200,
        'ada', 'the cards are hot');

-- Two starts of one name that live at once; and a worker that has said that it ends.
INSERT INTO worker (id, session, superseded, started_at, seen_at, last_beat_at, capacity, running, readings, labels, directive,
                    beats, contested_at, ended_at, owner) VALUES
    ('w2', x'0000000003e870008000000000000053',
     '[{"session":"00000000-03e8-7000-8000-000000000052","at":"1970-01-01T00:00:02Z","heard":true}]', 1000, 4000, 4000, 1, '[]', '{}',
     '{}', 0, 7, 3000, NULL, x'00'),
    ('w3', NULL, '[]', 1000, 4000, 4000, NULL, NULL, '{}', '{}', 0, 2, NULL, 4000, x'00');

-- A task that was lost with its workers twice is given out alone; the other one of its queue waits for another claim.
INSERT INTO task (n, id, state, priority, queue, task_type, project, run_after, attempt, forgiven, max_attempts, events,
                  worker, claimed_at, ended, created_at, updated_at, params, worker_losses) VALUES
    (11, x'0000000003e870008000000000000011', 0, 2, 'alone', 'render', 'film', 5000, 2, 0, 3, 5, 'w1', 4000, 10, 1000, 5000, '{}', 2),
    (12, x'0000000003e870008000000000000012', 0, 2, 'alone', 'render', 'film', 6000, 0, 0, 3, 1, NULL, NULL, NULL, 6000, 6000, '{}', 0);
INSERT INTO task_error (n, error) VALUES (11, '{"message":"the worker missed its heartbeats","code":"heartbeat_missed"}');
INSERT INTO event (k, at, kind, from_state, to_state, attempt, worker, session, detail) VALUES
    ((11 << 16) + 1, 1000, 0, NULL, 0, 0, NULL, NULL, NULL),
    ((11 << 16) + 2, 2000, 1, 0, 1, 1, 'w1', NULL, NULL),
    ((11 << 16) + 3, 3000, 5, 1, 0, 1, 'w1', NULL, '{"loss":"heartbeat_missed","worker_losses":1}'),
    ((11 << 16) + 4, 4000, 1, 0, 1, 2, 'w1', NULL, NULL),
    ((11 << 16) + 5, 5000, 5, 1, 0, 2, 'w1', NULL, '{"loss":"heartbeat_missed","worker_losses":2}'),
    ((12 << 16) + 1, 6000, 0, NULL, 0, 0, NULL, NULL, NULL);
INSERT INTO tally (queue, task_type, state, tasks) VALUES ('alone', 'render', 0, 2);

INSERT INTO reaper_round (n, note) VALUES
    (1, '{"at":"1970-01-01T00:00:05Z","heard_since":"1970-01-01T00:00:01Z","steps":[],"gaps":[2000,null],"doubt":null,"set_back":false}');
