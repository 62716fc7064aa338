//! What a caller that is bound to queues or a project may name, and what it sees.
//!
//! A name that a caller gives (a queue, a project) is judged by its grant alone, and refused with 403. What is behind an
//! id is judged by the task that has it, and what lies outside is answered as if it did not exist.
//!
//! The ends of attempts are given the bounds along ([`Caller::bounds`]), and the store judges them by what it reads anyway. For the other
//! changes, which are few, a check before is as good as one within. A task's project never changes; its queue does while it waits, by who
//! reaches both queues. What a caller may do to a task that waits, and that leaves its bounds between the check and the change, is to call it
//! off or to change it: the former has the effect that it would have had a moment before, and the latter is given its queues along
//! ([`baton_store::ChangeTask::within`]), as it may take the task elsewhere.

use baton_api::{FieldError, ProblemCode};
use baton_model::{Fence, Fingerprint, Generation, ProjectId, QueueName, Task, TaskId};
use baton_store::{ClaimAnswer, Nothing, Reach, StoreError, TaskStore};

use super::Caller;
use crate::error::ApiError;

impl Caller {
    /// Whether a task is within its bounds.
    pub fn sees(&self, task: &Task) -> bool {
        self.covers(&task.queue, &task.project)
    }

    /// Whether a generation is within its bounds.
    pub fn sees_generation(&self, generation: &Generation) -> bool {
        self.covers(&generation.queue, &generation.project)
    }

    /// Lets a change of a task pass that is within its bounds. A caller without bounds costs no look.
    ///
    /// # Errors
    /// That the task does not exist, also if it does and lies outside; the store's own failures.
    pub async fn reach(&self, store: &(impl TaskStore + ?Sized), id: TaskId) -> Result<(), ApiError> {
        if self.is_bound() && !self.sees(&store.task(id).await?.task) {
            return Err(StoreError::TaskNotFound(id).into());
        }
        Ok(())
    }

    /// Lets something be done for the end of an attempt that the store is to judge by the same ([`Reach`]), before it is asked to. A caller
    /// without bounds costs no look.
    ///
    /// # Errors
    /// As [`Self::reach`]; that the worker's name belongs to callers of other bounds.
    pub async fn reach_attempt(
        &self,
        store: &(impl TaskStore + ?Sized),
        id: TaskId,
        fence: &Fence,
    ) -> Result<(), ApiError> {
        if !self.is_bound() {
            return Ok(());
        }
        let (task, bounds) = (store.task(id).await?.task, self.bounds());
        match Reach::of(&bounds, fence, (&task.head, &task.queue, &task.project)) {
            Reach::Within => Ok(()),
            Reach::Beyond => Err(StoreError::TaskNotFound(id).into()),
            Reach::ByName => {
                let known = match store.worker(&fence.worker).await {
                    Ok(detail) => Some(detail.worker),
                    Err(StoreError::WorkerNotFound(_)) => None,
                    Err(error) => return Err(error.into()),
                };
                Ok(Reach::by_name(&bounds, fence, known.as_ref())?)
            }
        }
    }

    /// Lets a request pass that concerns everything.
    ///
    /// # Errors
    /// 403 if the caller is bound.
    pub fn reach_everything(&self) -> Result<(), ApiError> {
        if self.is_bound() {
            Err(self.outside("this is about all queues and projects", Vec::new()))
        } else {
            Ok(())
        }
    }

    /// Lets a request pass that concerns all tasks of queues, whatever their project.
    ///
    /// # Errors
    /// 403 if the caller is bound to a project.
    pub fn reach_whole_queues(&self) -> Result<(), ApiError> {
        match self.project() {
            Some(_) => Err(self.outside("a queue is shared by all projects", Vec::new())),
            None => Ok(()),
        }
    }

    /// Lets a request pass that concerns tasks of any queue, of one project or of all.
    ///
    /// # Errors
    /// 403 if the caller is bound to queues.
    pub fn reach_all_queues(&self) -> Result<(), ApiError> {
        match self.queues().len() {
            0 => Ok(()),
            _ => Err(self.outside("a batch may have tasks of any queue", Vec::new())),
        }
    }

    /// Lets a request pass that concerns one queue, whatever the project of its tasks.
    ///
    /// # Errors
    /// 403 if the caller is bound to a project or to other queues.
    pub fn reach_queue(&self, queue: &QueueName) -> Result<(), ApiError> {
        self.reach_whole_queues()?;
        match self.wrong_queue("queue", queue) {
            Some(error) => Err(self.outside("the request reaches beyond it", vec![error])),
            None => Ok(()),
        }
    }

    /// Lets a task be put into a queue that a request names in one of its fields.
    ///
    /// # Errors
    /// 403 that names the field, if the caller is bound to other queues.
    pub fn reach_place_in(&self, field: &str, queue: &QueueName) -> Result<(), ApiError> {
        match self.wrong_queue(field, queue) {
            Some(error) => Err(self.beyond(vec![error])),
            None => Ok(()),
        }
    }

    /// The project and the queue that a new task gets: those that it names, else those that the caller is bound to, else
    /// the default ones. `path` leads to the task's fields, such as `tasks[3].`.
    ///
    /// # Errors
    /// The fields that reach beyond the bounds.
    pub fn place(
        &self,
        path: &str,
        project: Option<ProjectId>,
        queue: Option<QueueName>,
    ) -> Result<(ProjectId, QueueName), Vec<FieldError>> {
        let project = project.or_else(|| self.project().cloned()).unwrap_or_default();
        let named = queue.is_some();
        let queue = queue.or_else(|| self.only_queue()).unwrap_or_default();
        let mut errors = Vec::new();
        errors.extend(self.wrong_project(&format!("{path}project"), &project));
        errors.extend(self.wrong_queue(&format!("{path}queue"), &queue).map(|error| match named {
            true => error,
            false => FieldError { got: "nothing, which stands for default".to_owned(), ..error },
        }));
        if errors.is_empty() { Ok((project, queue)) } else { Err(errors) }
    }

    /// The queues that a claim takes from: those that it names, else those that the caller is bound to, else the default
    /// one.
    ///
    /// # Errors
    /// 403 that names each queue beyond the bounds.
    pub fn claim_queues(&self, mut named: Vec<QueueName>) -> Result<Vec<QueueName>, ApiError> {
        if named.is_empty() {
            named.extend(self.queues().cloned());
        }
        if named.is_empty() {
            named.push(QueueName::default());
        }
        let wrong = |(at, queue): (usize, &QueueName)| self.wrong_queue(&format!("queues[{at}]"), queue);
        let errors: Vec<FieldError> = named.iter().enumerate().filter_map(wrong).collect();
        if errors.is_empty() { Ok(named) } else { Err(self.beyond(errors)) }
    }

    /// Narrows a list's filter to the bounds as far as it can say them; the entries are still to be sifted.
    ///
    /// # Errors
    /// 403 if the filter names what lies outside.
    pub fn narrow(
        &self,
        project: &mut Option<ProjectId>,
        queue: &mut Option<QueueName>,
    ) -> Result<(), ApiError> {
        let mut errors = Vec::new();
        errors.extend(project.as_ref().and_then(|named| self.wrong_project("project", named)));
        errors.extend(queue.as_ref().and_then(|named| self.wrong_queue("queue", named)));
        if !errors.is_empty() {
            return Err(self.beyond(errors));
        }
        if project.is_none() {
            *project = self.project().cloned();
        }
        if queue.is_none() {
            *queue = self.only_queue();
        }
        Ok(())
    }

    /// What a claim found, without the tasks of an earlier claim of the same name that was made with other bounds, or for more than
    /// `most`.
    pub fn sift(&self, answer: ClaimAnswer, most: u32) -> ClaimAnswer {
        match answer {
            ClaimAnswer::Leased(mut tasks) => {
                if self.is_bound() {
                    tasks.retain(|task| self.sees(task));
                }
                // It has kept room for as many as it asks for.
                tasks.truncate(most as usize);
                if tasks.is_empty() {
                    ClaimAnswer::Nothing(Nothing::RequestSpent)
                } else {
                    ClaimAnswer::Leased(tasks)
                }
            }
            nothing @ ClaimAnswer::Nothing(_) => nothing,
        }
    }

    /// What callers that share their bounds have in common, and no others; none without bounds. Names that callers give
    /// to their requests are kept apart by it.
    pub fn realm(&self) -> Option<String> {
        let grant = self.grant().filter(|grant| !grant.is_unbound())?;
        let digest = Fingerprint::of(&(&grant.project, &grant.queues)).digest();
        Some(format!("{:032x}", u128::from_be_bytes(*digest.as_bytes())))
    }

    /// The refusal of names that reach beyond the bounds.
    pub fn beyond(&self, errors: Vec<FieldError>) -> ApiError {
        self.outside("the request reaches beyond it; `errors` names the fields", errors)
    }

    fn outside(&self, why: &str, errors: Vec<FieldError>) -> ApiError {
        let bounds = self.bounds_in_words();
        let detail = format!("the token is bound to {bounds}, and {why}; use another token or other names");
        ApiError::new(ProblemCode::OutsideGrant, detail).with_errors(errors)
    }

    fn bounds_in_words(&self) -> String {
        let queues: Vec<&str> = self.queues().map(QueueName::as_str).collect();
        let queues = match queues.as_slice() {
            [] => None,
            [one] => Some(format!("the queue {one}")),
            several => Some(format!("the queues {}", several.join(", "))),
        };
        let project = self.project().map(|project| format!("the project {project}"));
        let bounds: Vec<String> = project.into_iter().chain(queues).collect();
        bounds.join(" and ")
    }

    fn only_queue(&self) -> Option<QueueName> {
        let mut queues = self.queues();
        if queues.len() == 1 { queues.next().cloned() } else { None }
    }

    fn wrong_project(&self, field: &str, project: &ProjectId) -> Option<FieldError> {
        let bound = self.project().filter(|bound| *bound != project)?;
        Some(FieldError { field: field.to_owned(), expected: bound.to_string(), got: project.to_string() })
    }

    fn wrong_queue(&self, field: &str, queue: &QueueName) -> Option<FieldError> {
        if self.covers_queue(queue) {
            return None;
        }
        let names: Vec<&str> = self.queues().map(QueueName::as_str).collect();
        let expected = match names.as_slice() {
            [one] => (*one).to_owned(),
            several => format!("one of {}", several.join(", ")),
        };
        Some(FieldError { field: field.to_owned(), expected, got: queue.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use baton_model::{Grant, Scope, Timestamp, Token, TokenId};

    use super::*;

    fn caller(queues: &[&str], project: Option<&str>) -> Caller {
        let grant = Grant {
            scopes: [Scope::Producer, Scope::Worker].into(),
            queues: queues.iter().map(|name| name.parse().unwrap()).collect(),
            project: project.map(|name| name.parse().unwrap()),
        };
        Caller::of(Token {
            id: TokenId::from_bytes([1; 16]),
            name: "ci".parse().unwrap(),
            grant,
            requests_per_second: None,
            created_at: Timestamp::default(),
            created_by: None,
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
        })
    }

    fn placed(caller: &Caller, project: Option<&str>, queue: Option<&str>) -> Result<String, Vec<String>> {
        let project = project.map(|name| name.parse().unwrap());
        let queue = queue.map(|name| name.parse().unwrap());
        let placed = caller.place("tasks[3].", project, queue);
        placed
            .map(|(project, queue)| format!("{project}/{queue}"))
            .map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_new_task_goes_where_its_maker_is_bound_to() {
        let free = Caller::unrestricted();
        assert_eq!(placed(&free, None, None).unwrap(), "default/default");
        assert_eq!(placed(&free, Some("a"), Some("b")).unwrap(), "a/b");
        let one = caller(&["gpu"], Some("film"));
        assert_eq!(placed(&one, None, None).unwrap(), "film/gpu");
        assert_eq!(
            placed(&one, Some("game"), Some("cpu")).unwrap_err(),
            ["tasks[3].project: expected film, got game", "tasks[3].queue: expected gpu, got cpu"]
        );
        let several = caller(&["cpu", "gpu"], None);
        assert_eq!(placed(&several, None, Some("cpu")).unwrap(), "default/cpu");
        assert_eq!(
            placed(&several, None, None).unwrap_err(),
            ["tasks[3].queue: expected one of cpu, gpu, got nothing, which stands for default"]
        );
        assert_eq!(placed(&caller(&["cpu", "default"], None), None, None).unwrap(), "default/default");
    }

    #[test]
    fn a_claim_takes_from_the_queues_of_its_token() {
        let claim = |caller: &Caller, named: &[&str]| {
            let named = named.iter().map(|name| name.parse().unwrap()).collect();
            let queues = caller.claim_queues(named)?;
            Ok::<_, ApiError>(queues.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(claim(&Caller::unrestricted(), &[]).unwrap(), ["default"]);
        let bound = caller(&["cpu", "gpu"], None);
        assert_eq!(claim(&bound, &[]).unwrap(), ["cpu", "gpu"]);
        assert_eq!(claim(&bound, &["gpu"]).unwrap(), ["gpu"]);
        let problem = claim(&bound, &["gpu", "default"]).unwrap_err().into_problem();
        assert_eq!((problem.status, problem.errors[0].field.as_str()), (403, "queues[1]"));
        assert_eq!(claim(&caller(&[], Some("film")), &["any"]).unwrap(), ["any"]);
    }

    #[test]
    fn a_filter_is_narrowed_and_may_not_name_what_lies_outside() {
        let bound = caller(&["gpu"], Some("film"));
        let (mut project, mut queue) = (None, None);
        bound.narrow(&mut project, &mut queue).unwrap();
        assert_eq!((project.unwrap().as_str(), queue.unwrap().as_str()), ("film", "gpu"));
        let problem = bound.narrow(&mut Some("game".parse().unwrap()), &mut None).unwrap_err().into_problem();
        assert_eq!(problem.status, 403);
        assert!(problem.detail.starts_with("the token is bound to the project film and the queue gpu, and"));
        let (mut project, mut queue) = (None, None);
        caller(&["a", "b"], None).narrow(&mut project, &mut queue).unwrap();
        assert!(project.is_none() && queue.is_none());
    }

    #[test]
    fn what_belongs_to_nobody_alone_is_out_of_a_bound_callers_reach() {
        let queue = "gpu".parse().unwrap();
        assert!(Caller::unrestricted().reach_everything().is_ok());
        assert!(caller(&[], None).reach_everything().is_ok());
        assert!(caller(&["gpu"], None).reach_everything().is_err());
        assert!(caller(&["gpu"], None).reach_queue(&queue).is_ok());
        assert!(caller(&["cpu"], None).reach_queue(&queue).is_err());
        assert!(caller(&[], Some("film")).reach_queue(&queue).is_err());
        assert!(caller(&[], Some("film")).reach_place_in("with.queue", &queue).is_ok());
        let problem = caller(&["cpu"], None).reach_place_in("with.queue", &queue).unwrap_err().into_problem();
        assert_eq!((problem.status, problem.errors[0].field.as_str()), (403, "with.queue"));
    }

    #[test]
    fn callers_of_the_same_bounds_share_a_realm() {
        assert!(caller(&[], None).realm().is_none() && Caller::unrestricted().realm().is_none());
        assert_eq!(caller(&["a"], Some("p")).realm(), caller(&["a"], Some("p")).realm());
        let realms =
            [caller(&["a"], Some("p")), caller(&["a"], None), caller(&[], Some("p")), caller(&[], Some("a"))];
        let distinct: std::collections::HashSet<_> = realms.iter().map(Caller::realm).collect();
        assert_eq!(distinct.len(), realms.len());
    }
}
