-- Version 5: limits that tasks share.

INSERT INTO shared_limit (holds_for, rules, changed_by, reason, changed_at) VALUES
    ('owner/studio', '{"max_running":50,"rate":null,"exempt_types":["wait"],"holds_retries":false}', NULL, NULL, 1000),
    ('project/game', '{"max_running":null,"rate":{"starts":1,"seconds":3600,"burst":1},"exempt_types":[],"holds_retries":false}',
     NULL, NULL, 1000),
    ('queue/gpu/key/*', '{"max_running":1,"rate":null,"exempt_types":[],"holds_retries":true}', 'ada', 'one card each', 1000);
INSERT INTO project (name, owner, changed_by, reason, changed_at) VALUES ('film', 'studio', 'ada', NULL, 1000);
-- One of the project started in second 2: the next one may an hour later. In microseconds.
INSERT INTO rate_arrival (holds_for, arrival) VALUES ('project/game', 3602000000);

INSERT INTO task (n, id, state, priority, queue, task_type, project, run_after, attempt, forgiven, max_attempts, events,
                  worker, claimed_at, beats, created_at, updated_at, params, concurrency_key, waits_at) VALUES
    -- Runs under the key's limit, so that 12 was put aside (state 6).
    (11, x'0000000003e870008000000000000011', 1, 2, 'gpu', 'render', 'film', 1000, 1, 0, 3, 2, 'w1', 2000, 1, 1000, 2000, '{}', 'ada', NULL),
    (12, x'0000000003e870008000000000000012', 6, 2, 'gpu', 'render', 'film', 1000, 0, 0, 3, 1, NULL, NULL, NULL, 1000, 1000, '{}', 'ada',
     'queue/gpu/key/ada'),
    -- Waits for the rate of its project.
    (13, x'0000000003e870008000000000000013', 6, 2, 'web', 'render', 'game', 1000, 0, 0, 3, 1, NULL, NULL, NULL, 1000, 1000, '{}', NULL,
     'project/game');
INSERT INTO event (k, at, kind, from_state, to_state, attempt, worker) VALUES
    ((11 << 16) + 1, 1000, 0, NULL, 0, 0, NULL), ((11 << 16) + 2, 2000, 1, 0, 1, 1, 'w1'),
    ((12 << 16) + 1, 1000, 0, NULL, 0, 0, NULL), ((13 << 16) + 1, 1000, 0, NULL, 0, 0, NULL);
INSERT INTO queue (name, paused, changed_by, changed_at, used) VALUES ('gpu', 0, NULL, 1000, 1), ('web', 0, NULL, 1000, 1);
INSERT INTO tally (queue, task_type, state, tasks) VALUES ('gpu', 'render', 0, 1), ('gpu', 'render', 1, 1), ('web', 'render', 0, 1);

INSERT INTO audit (k, id, at, action, target, token, token_name, request, outcome, asked_by, reason, change)
VALUES (1000 << 15, x'0000000003e8700080000000000000b1', 1000, 'set_limit', '/v1/limits/queue/gpu/key/*', NULL, NULL, 'req-1', 200,
        'ada', 'one card each', '{"from":null,"to":"at most 1 at once"}');
