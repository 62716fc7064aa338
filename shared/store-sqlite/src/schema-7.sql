-- Version 7: queues that give out their tasks in an order of their own.

-- In which order, as JSON; NULL for the usual one.
ALTER TABLE queue ADD COLUMN ordering TEXT;
-- Up to which of its tasks (by n) a queue that was made fair has noted whose they are; NULL once all have.
ALTER TABLE queue ADD COLUMN turning INTEGER;

-- Whose the task is, in a fair queue: p/PROJECT or k/KEY.
ALTER TABLE task ADD COLUMN fair TEXT;

-- The ready tasks of fair queues, so that a claim finds the first ones of each tenant past all the others of it: those of one
-- tenant, type and project have a line of their own.
CREATE INDEX task_turn ON task (queue, priority, fair, task_type, project, run_after, id)
    WHERE state = 0 AND fair IS NOT NULL;
