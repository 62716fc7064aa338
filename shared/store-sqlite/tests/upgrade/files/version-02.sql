-- Version 2: tokens, the audit log, and the projects that workers are bound to.

INSERT INTO token (id, digest, name, grants, requests_per_second, created_at, created_by, expires_at, revoked_at, last_used_at) VALUES
    (x'0000000003e8700080000000000000a1', x'1111111111111111111111111111111111111111111111111111111111111111', 'film''s producer',
     '{"scopes":["producer"],"queues":["default"],"project":"film"}', 50, 1000, 'root', NULL, NULL, 2000),
    (x'0000000003e8700080000000000000a2', x'2222222222222222222222222222222222222222222222222222222222222222', 'old',
     '{"scopes":["operator"]}', NULL, 1000, NULL, NULL, 3000, NULL);

INSERT INTO audit (k, id, at, action, target, token, token_name, request, outcome) VALUES
    (3000 << 15, x'0000000003e8700080000000000000b1', 3000, 'revoke_token', '/v1/tokens/00000000-03e8-7000-8000-0000000000a2/revoke',
     x'0000000003e8700080000000000000a1', 'film''s producer', 'req-1', 200),
    ((3000 << 15) + 1, x'0000000003e8700080000000000000b2', 3000, 'pause_queue', '/v1/queues/gpu/pause', NULL, NULL, 'req-2', NULL);

INSERT INTO queue (name, paused, changed_by, changed_at) VALUES ('gpu', 1, 'ada', 3000);

-- A worker of the project, with two earlier starts, which were a list of no more than their names.
INSERT INTO worker (id, session, superseded, started_at, seen_at, last_beat_at, capacity, running, readings, labels, directive, project)
VALUES ('w2', x'0000000003e870008000000000000054',
        '["00000000-03e8-7000-8000-000000000052","00000000-03e8-7000-8000-000000000053"]', 1000, 2000, NULL, NULL, NULL, '{}', '{}', 1,
        'film');

-- A task of the project, which a claim for it finds past those of others.
INSERT INTO task (n, id, state, priority, queue, task_type, project, run_after, attempt, forgiven, max_attempts, events,
                  created_at, updated_at, params) VALUES
    (11, x'0000000003e870008000000000000011', 0, 2, 'shared', 'render', 'game', 1000, 0, 0, 3, 1, 1000, 1000, '{}'),
    (12, x'0000000003e870008000000000000012', 0, 2, 'shared', 'render', 'film', 1000, 0, 0, 3, 1, 1000, 1000, '{}');
INSERT INTO event (k, at, kind, from_state, to_state, attempt) VALUES
    ((11 << 16) + 1, 1000, 0, NULL, 0, 0), ((12 << 16) + 1, 1000, 0, NULL, 0, 0);
INSERT INTO queue (name, paused, changed_by, changed_at) VALUES ('shared', 0, NULL, 1000);
INSERT INTO tally (queue, task_type, state, tasks) VALUES ('shared', 'render', 0, 2);
