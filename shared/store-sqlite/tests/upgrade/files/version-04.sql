-- Version 4: tasks that wait for others.

-- links: 1 others depend on it, 2 it depends on others, and 4 times what becomes of it when one of these fails: 0 cancel, 1 fail, 2 run.
INSERT INTO task (n, id, state, priority, queue, task_type, project, run_after, attempt, forgiven, max_attempts, events,
                  worker, claimed_at, beats, ended, generation, output, created_at, updated_at, finished_at, params, links) VALUES
    -- Runs, and 13 and 14 wait for it.
    (11, x'0000000003e870008000000000000011', 1, 2, 'steps', 'shoot', 'film', 1000, 1, 0, 3, 2,
     'w1', 2000, 1, NULL, NULL, NULL, 1000, 2000, NULL, '{}', 1),
    -- Is completed, and kept as 13 depends on it: its finished_at is not there.
    (12, x'0000000003e870008000000000000012', 2, 2, 'steps', 'shoot', 'film', 1000, 1, 0, 3, 3,
     'w1', 2000, 1, 1, x'0000000003e870008000000000000064', x'000102030405060708090a0b0c0d0e0f', 1000, 3000, NULL, '{}', 1),
    (13, x'0000000003e870008000000000000013', 5, 2, 'steps', 'cut', 'film', 1000, 0, 0, 3, 1,
     NULL, NULL, NULL, NULL, NULL, NULL, 1000, 1000, NULL, '{}', 2),
    -- Runs whatever becomes of 11; and 15 waits for it in turn.
    (14, x'0000000003e870008000000000000014', 5, 2, 'steps', 'cut', 'film', 1000, 0, 0, 3, 1,
     NULL, NULL, NULL, NULL, NULL, NULL, 1000, 1000, NULL, '{}', 11),
    -- Fails with 14.
    (15, x'0000000003e870008000000000000015', 5, 2, 'steps', 'show', 'film', 1000, 0, 0, 3, 1,
     NULL, NULL, NULL, NULL, NULL, NULL, 1000, 1000, NULL, '{}', 6);
INSERT INTO dependency (dependant, place, dependency) VALUES
    (13, 0, x'0000000003e870008000000000000012'), (13, 1, x'0000000003e870008000000000000011'),
    (14, 0, x'0000000003e870008000000000000011'), (15, 0, x'0000000003e870008000000000000014');
INSERT INTO blocked (n) VALUES (13), (14), (15);
INSERT INTO kept (n) VALUES (12);
INSERT INTO generation (k, n, id, task, project, queue, task_type, attempt, worker, created_at, started_at, finished_at, result)
VALUES ((3000 << 15) + 1, 12, x'0000000003e870008000000000000064', x'0000000003e870008000000000000012', 'film', 'steps', 'shoot',
        1, 'w1', 1000, 2000, 3000, '{"frames":240}');
INSERT INTO event (k, at, kind, from_state, to_state, attempt, worker) VALUES
    ((11 << 16) + 1, 1000, 0, NULL, 0, 0, NULL), ((11 << 16) + 2, 2000, 1, 0, 1, 1, 'w1'),
    ((12 << 16) + 1, 1000, 0, NULL, 0, 0, NULL), ((12 << 16) + 2, 2000, 1, 0, 1, 1, 'w1'), ((12 << 16) + 3, 3000, 2, 1, 2, 1, 'w1'),
    ((13 << 16) + 1, 1000, 0, NULL, 5, 0, NULL), ((14 << 16) + 1, 1000, 0, NULL, 5, 0, NULL), ((15 << 16) + 1, 1000, 0, NULL, 5, 0, NULL);
INSERT INTO queue (name, paused, changed_by, changed_at, used) VALUES ('steps', 0, NULL, 1000, 1);
INSERT INTO tally (queue, task_type, state, tasks) VALUES
    ('steps', 'shoot', 1, 1), ('steps', 'shoot', 2, 1), ('steps', 'cut', 5, 2), ('steps', 'show', 5, 1);
