-- Version 7: fair queues, priorities that rise with waiting, and tasks that want something to be warm.

INSERT INTO queue (name, paused, changed_by, changed_at, used, ordering, turning) VALUES
    ('turns', 0, NULL, 1000, 1, '{"fair":"project","age_after_seconds":3600}', NULL),
    -- Was made fair, and the server ended before it had noted whose its tasks are.
    ('soon-fair', 0, NULL, 1000, 1, '{"fair":"key"}', 0),
    ('warm', 0, NULL, 1000, 1, NULL, NULL);

-- fair: p/PROJECT or k/KEY in a fair queue; empty in another one if the task has an affinity.
INSERT INTO task (n, id, state, priority, queue, task_type, project, run_after, attempt, forgiven, max_attempts, events,
                  worker, claimed_at, beats, created_at, updated_at, params, concurrency_key, fair, affinity) VALUES
    -- One of film's runs, so that it is the turn of game.
    (11, x'0000000003e870008000000000000011', 1, 2, 'turns', 'render', 'film', 1000, 1, 0, 3, 2, 'w1', 2000, 1, 1000, 2000, '{}', NULL, 'p/film', ''),
    (12, x'0000000003e870008000000000000012', 0, 2, 'turns', 'render', 'film', 1000, 0, 0, 3, 1, NULL, NULL, NULL, 1000, 1000, '{}', NULL, 'p/film', ''),
    (13, x'0000000003e870008000000000000013', 0, 2, 'turns', 'render', 'film', 1000, 0, 0, 3, 1, NULL, NULL, NULL, 1000, 1000, '{}', NULL, 'p/film', ''),
    (14, x'0000000003e870008000000000000014', 0, 2, 'turns', 'render', 'game', 1000, 0, 0, 3, 1, NULL, NULL, NULL, 1000, 1000, '{}', NULL, 'p/game', ''),
    (15, x'0000000003e870008000000000000015', 0, 2, 'soon-fair', 'render', 'film', 1000, 0, 0, 3, 1, NULL, NULL, NULL, 1000, 1000, '{}', 'ada', NULL, ''),
    (16, x'0000000003e870008000000000000016', 0, 2, 'soon-fair', 'render', 'film', 1000, 0, 0, 3, 1, NULL, NULL, NULL, 1000, 1000, '{}', 'ada', NULL, ''),
    (17, x'0000000003e870008000000000000017', 0, 2, 'soon-fair', 'render', 'film', 1000, 0, 0, 3, 1, NULL, NULL, NULL, 1000, 1000, '{}', 'bob', NULL, ''),
    (18, x'0000000003e870008000000000000018', 0, 2, 'warm', 'render', 'film', 1000, 0, 0, 3, 1, NULL, NULL, NULL, 1000, 1000, '{}', NULL, '', 'cold-model'),
    (19, x'0000000003e870008000000000000019', 0, 2, 'warm', 'render', 'film', 1000, 0, 0, 3, 1, NULL, NULL, NULL, 1000, 1000, '{}', NULL, '', 'warm-model');
INSERT INTO event (k, at, kind, from_state, to_state, attempt, worker)
SELECT (n << 16) + 1, 1000, 0, NULL, 0, 0, NULL FROM task WHERE n > 10;
INSERT INTO event (k, at, kind, from_state, to_state, attempt, worker) VALUES ((11 << 16) + 2, 2000, 1, 0, 1, 1, 'w1');
INSERT INTO tally (queue, task_type, state, tasks) VALUES
    ('turns', 'render', 0, 3), ('turns', 'render', 1, 1), ('soon-fair', 'render', 0, 3), ('warm', 'render', 0, 2);
