-- Version 7: queues that give out their tasks in an order of their own, and tasks that want something to be warm.

-- In which order, as JSON; NULL for the usual one.
ALTER TABLE queue ADD COLUMN ordering TEXT;
-- Up to which of its tasks (by n) a queue that was made fair has noted whose they are; NULL once all have.
ALTER TABLE queue ADD COLUMN turning INTEGER;

-- Whose the task is, in a fair queue: p/PROJECT or k/KEY. In another one empty if the task has an affinity, so that it can be compared.
ALTER TABLE task ADD COLUMN fair TEXT;

-- What the task's worker had best have warm; empty for most, which do not say.
ALTER TABLE task ADD COLUMN affinity TEXT NOT NULL DEFAULT '';

-- The ready tasks of fair queues, and those of others that have an affinity: those of one affinity, tenant, type and project have a
-- line of their own, so that a claim finds the first ones of each past all the others of it. One index for both: each costs every task.
CREATE INDEX task_line ON task (queue, priority, affinity, fair, task_type, project, run_after, id)
    WHERE state = 0 AND fair IS NOT NULL;

-- Of what waits at a limit, one claim may find tasks of one affinity, and another one those of another.
DROP INDEX task_at_limit;
DROP INDEX task_let_go;
CREATE INDEX task_at_limit ON task (waits_at, queue, task_type, project, affinity, priority, run_after, id) WHERE state = 6;
CREATE INDEX task_let_go ON task (waits_at, queue, task_type, project, affinity, priority, run_after, id)
    WHERE state = 0 AND waits_at IS NOT NULL;
