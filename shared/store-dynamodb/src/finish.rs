//! Ending an attempt or a task: complete, fail, release, cancel, retry.

use baton_model::transition::{Change, Command, Decision, decide};
use baton_model::{Bounds, Fence, Generation, Task, TaskId, TaskState, Timestamp};
use baton_store::histogram::What;
use baton_store::{Claim, Complete, CompleteAnswer, Completion, FailAnswer, Reach, StoreError};

use crate::attr::{n, texts};
use crate::carried::{Ahead, is_carried};
use crate::ends::ENDS;
use crate::error::{TransactError, contended, damaged};
use crate::expression::Expression;
use crate::generation::{generation_item, ran_of};
use crate::keys::{self, Kind};
use crate::row::Stored;
use crate::store::Inner;
use crate::text::Text;
use crate::transition::{Outcome, ROUNDS, is_marked};

impl Inner {
    /// Completes a task; its status and its generation are one commit.
    pub(crate) async fn complete(
        &self,
        complete: &Complete,
        next: Option<&Claim>,
    ) -> Result<CompleteAnswer, StoreError> {
        let ended = [(complete.task, complete.fence.attempt)];
        let carried = next.filter(|next| is_carried(complete, next));
        // Of several sendings of one request in this process one looks at a time, as each reserves what it finds.
        let name = carried.and_then(|next| next.request.as_ref().map(|name| (&next.worker, name)));
        let gate = name.map(|(worker, name)| self.notes.gate(worker, name));
        let passed = match &gate {
            Some(gate) => Some(gate.lock().await),
            None => None,
        };
        let ahead = match carried {
            Some(next) => Box::pin(self.look_ahead(next, &ended)).await,
            None => None,
        };
        let planned = ahead.is_some();
        // The completion before the takes, whose plan is written with it: cut off between the two, a repetition finds the plan with the
        // generation and carries it out. In the other order tasks would be held for a completion that may be refused.
        let completion = self.completion(complete, ahead.as_ref()).await?;
        let Completion { generation, domain, repeated } = completion;
        let taken = match ahead {
            Some(ahead) if !repeated => Box::pin(self.take_ahead(ahead, generation.id)).await,
            // What it has reserved is free again, as it is where the completion is refused.
            ahead => {
                drop(ahead);
                Ok(None)
            }
        };
        drop(passed);
        // A claim that is refused says so in the answer: the completion stands.
        let next = match (next, taken) {
            (None, _) => None,
            (Some(_), Err(error)) => Some(Err(error)),
            (Some(_), Ok(Some(answer))) => Some(Ok(answer)),
            (Some(next), Ok(None)) if carried.is_some() && (repeated || planned) => {
                Some(Box::pin(self.claim_again(next, generation.id, &ended)).await)
            }
            (Some(next), Ok(None)) => Some(self.claim(next, &ended).await),
        };
        Ok(CompleteAnswer { generation, domain, repeated, next })
    }

    /// Completes a task, and no more. What a claim has found ahead of it is written down with its generation.
    pub(crate) async fn completion(
        &self,
        complete: &Complete,
        ahead: Option<&Ahead<'_>>,
    ) -> Result<Completion, StoreError> {
        let id = complete.task;
        let command = Command::Complete {
            fence: complete.fence.clone(),
            generation: complete.generation,
            output: complete.output.fingerprint(),
        };
        let recalled = match self.notes.recall(id) {
            Some(given) => Some(given),
            None => self.find_lately(id).await?,
        };
        // What is remembered or was read so may be old: it is good for a change, whose write tells, but for no refusal.
        let (caller, fence) = (&complete.caller, &complete.fence);
        let (mut before, mut sure) = self.reached(id, (caller, fence), recalled).await?;
        let mark = self.mark(&(&command, complete.now));
        // What was written, and whether with an end.
        let mut written: Option<(Vec<(Text, String)>, bool)> = None;
        for _ in 0..ROUNDS {
            let domain = before.rest.as_ref().and_then(|rest| rest.domain.clone());
            let change = match decide(&before.head, &command, complete.now) {
                Err(_) | Ok(Decision::Repeat) if !sure => {
                    (before, sure) = self.reached(id, (caller, fence), None).await?;
                    continue;
                }
                Err(refusal) => {
                    self.drop_texts(complete, written).await;
                    return Err(StoreError::Refused { task: id, refusal });
                }
                Ok(Decision::Repeat) => {
                    let TaskState::Completed { generation, .. } = before.head.state else {
                        return Err(damaged(format!("task {id} repeats a completion that it does not have")));
                    };
                    if generation != complete.generation {
                        self.drop_texts(complete, written).await;
                    }
                    let standing = self.stored_generation(generation).await?;
                    // DynamoDB removes the two one after the other, in either order.
                    let missing = || match before.ends {
                        Some(_) => StoreError::TaskNotFound(id),
                        None => damaged(format!("task {id} is completed without generation {generation}")),
                    };
                    let generation = standing.ok_or_else(missing)?;
                    return Ok(Completion { generation, domain, repeated: true });
                }
                Ok(Decision::Apply(change)) => change,
            };
            let generation = generation_of(&before, complete)?;
            let (mut item, apart) = generation_item(&generation, self.spread)?;
            let ends = self.ends_of(&before, generation.finished_at);
            item.extend(ends.map(|ends| (ENDS.to_owned(), n(ends))));
            if let Some(ahead) = ahead {
                ahead.put(&mut item);
            }
            let day = keys::day_of(generation.id.as_bytes());
            self.notes.know_day(&self.db, Kind::Generation, day, complete.now).await?;
            // The output's texts first, then task and generation in one transaction: whoever sees the generation finds
            // all of its output. Within the transaction each KB of text would cost two write units and not one.
            if written.as_ref().is_none_or(|(_, given)| *given != ends.is_some()) {
                for (text, whole) in &apart {
                    self.db.write_text(&keys::apart(&generation.id), text, whole, ends).await?;
                }
                written = Some((apart, ends.is_some()));
            }
            // With the task, too, whose record in the stream is all that counts the run.
            let ran = ran_of(&generation);
            let update = self.update_of(&before, &change, complete.now, mark).await?.maybe("rn", ran);
            // A limit that was set meanwhile counts it: who ends it is to know.
            let limits = before.rest()?.limits.clone();
            let counted = limits.len();
            let update = update.when_still("lu", (counted > 0).then(|| texts(limits)));
            let writes = vec![
                self.db.update_write(self.task_key(id), &update)?,
                self.db.put_write(item, &Expression::new().when_absent("pk"))?,
            ];
            let name = format!("{id}#{}#{}#{counted}#{mark}", before.head.events, before.waited_for);
            match self.db.transact(writes, &name).await {
                Ok(()) => {
                    let after = Stored { head: change.head, ends, ..before.clone() };
                    self.completed(&before, &after, &generation, complete.now).await;
                    return Ok(Completion { generation, domain, repeated: false });
                }
                Err(TransactError::Failed(error)) => return Err(error),
                Err(TransactError::Conditions(reasons)) => {
                    sure = true;
                    let [(task_changed, task), (generation_taken, _)] = &reasons[..] else {
                        return Err(damaged("DynamoDB gave other reasons than there were writes"));
                    };
                    match task {
                        Some(item) if is_marked(item, mark)? => {
                            let after = Stored::read(item)?;
                            self.completed(&before, &after, &generation, complete.now).await;
                            return Ok(Completion { generation, domain, repeated: false });
                        }
                        Some(item) => before = Stored::standing(item)?,
                        None if *task_changed => return Err(StoreError::TaskNotFound(id)),
                        None if *generation_taken => {
                            // The task did not stand against it: either it does by now, or the id is another's.
                            before = self.known(id).await?;
                            if matches!(before.head.state, TaskState::Running(_)) {
                                return Err(StoreError::Internal {
                                    what: format!(
                                        "generation id {} is taken by another task",
                                        complete.generation
                                    ),
                                    cause: None,
                                });
                            }
                        }
                        None => before = self.known(id).await?,
                    }
                    // It is another than was judged: it may have gone to another queue since.
                    if let Err(beyond) = self.reach(&before, caller, fence).await {
                        self.drop_texts(complete, written).await;
                        return Err(beyond);
                    }
                }
            }
        }
        Err(contended("the task"))
    }

    /// What follows from a completion that was written. Not before it, as that may be refused; what a process that dies in between leaves
    /// undone of places under limits, batches and dependants, the reaper makes good by the task as it stands.
    async fn completed(&self, before: &Stored, after: &Stored, generation: &Generation, now: Timestamp) {
        self.changed(before, after, now);
        self.stats.lock().duration(&generation.queue, What::Run, now, generation.run_time());
        self.date_what_is_apart(after).await;
        self.leave(before, after, now).await;
        self.tidy_ended(after).await;
        self.note_in_batch(after, before.head.state.state(), now).await;
        self.follow(after, now).await;
    }

    /// Removes what a refused completion had written and nobody names.
    async fn drop_texts(&self, complete: &Complete, written: Option<(Vec<(Text, String)>, bool)>) {
        for (text, _) in written.into_iter().flat_map(|(texts, _)| texts) {
            self.db.drop_text(&keys::apart(&complete.generation), &text).await;
        }
    }

    /// The task of an attempt that is to be ended, if its caller may end it, and whether it is as it stands: `recalled` is what is known
    /// of it that may be old, which is good for no refusal.
    async fn reached(
        &self,
        id: TaskId,
        (caller, fence): (&Bounds, &Fence),
        recalled: Option<Stored>,
    ) -> Result<(Stored, bool), StoreError> {
        if let Some(recalled) = recalled {
            match self.reach(&recalled, caller, fence).await {
                Ok(()) => return Ok((recalled, false)),
                Err(StoreError::TaskNotFound(_) | StoreError::WorkerOfOther(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let standing = self.known(id).await?;
        self.reach(&standing, caller, fence).await?;
        Ok((standing, true))
    }

    /// Lets the end of an attempt of a task pass that its caller may end, by the task as it was read.
    pub(crate) async fn reach(
        &self,
        task: &Stored,
        caller: &Bounds,
        fence: &Fence,
    ) -> Result<(), StoreError> {
        match Reach::of(caller, fence, (&task.head, &task.queue, &task.project)) {
            Reach::Within => Ok(()),
            Reach::Beyond => Err(StoreError::TaskNotFound(task.head.id)),
            Reach::ByName => {
                let known = self.stored_worker(&fence.worker).await?;
                Reach::by_name(caller, fence, known.as_ref().map(|known| &known.worker))
            }
        }
    }

    /// Carries out a command that ends or reopens a task; says whether it was done before.
    pub(crate) async fn end(
        &self,
        id: TaskId,
        command: &Command,
        now: Timestamp,
    ) -> Result<FailAnswer, StoreError> {
        self.ended(self.apply(id, command, now).await?, now).await
    }

    /// As [`Self::end`], of an attempt that its caller is to reach.
    pub(crate) async fn end_reached(
        &self,
        (id, caller, fence): (TaskId, &Bounds, &Fence),
        command: &Command,
        now: Timestamp,
    ) -> Result<FailAnswer, StoreError> {
        let (before, _) = self.reached(id, (caller, fence), self.to_change(id, command, now)).await?;
        self.ended(self.apply_within(before, Some((caller, fence)), command, now).await?, now).await
    }

    async fn ended(&self, outcome: Outcome, now: Timestamp) -> Result<FailAnswer, StoreError> {
        let (after, repeated) = match outcome {
            Outcome::Applied(after) => {
                self.follow(&after, now).await;
                (after, false)
            }
            Outcome::Repeated(standing) => (standing, true),
        };
        let task: Task = self.known_task(*after).await?;
        Ok(FailAnswer { task, repeated })
    }
}

fn generation_of(before: &Stored, complete: &Complete) -> Result<Generation, StoreError> {
    let TaskState::Running(lease) = &before.head.state else {
        return Err(StoreError::Internal {
            what: format!("task {} was completed while it did not run", complete.task),
            cause: None,
        });
    };
    Ok(Generation {
        id: complete.generation,
        task: complete.task,
        project: before.project.clone(),
        queue: before.queue.clone(),
        task_type: before.task_type.clone(),
        attempt: complete.fence.attempt,
        worker: complete.fence.worker.clone(),
        output: complete.output.clone(),
        created_at: before.created_at,
        // The claim was by a clock that was right, the creation perhaps was not.
        started_at: lease.claimed_at.max(before.created_at),
        finished_at: Change::dated(complete.now, before.changed_at()),
        ran: complete.ran,
    })
}
