//! Whose a worker's name is. Who speaks under a name may end the leases that are held under it (by a new session, by a
//! list that leaves one out), so that only callers of the same bounds may, and those without bounds.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Fingerprint};
use crate::id::{ProjectId, QueueName};
use crate::token::Grant;

/// Whose a worker's name is: that of the callers who used it first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// Callers without bounds.
    #[default]
    Unbound,
    /// Callers that are bound to this project, whatever their queues.
    Project(ProjectId),
    /// Callers that are bound to just these queues and to no project. A digest, as the names of 32 queues would make a
    /// worker's record cost four units instead of one.
    Queues(Digest),
}

impl Owner {
    /// A caller with these bounds.
    pub fn of(grant: &Grant) -> Self {
        match &grant.project {
            Some(project) => Self::Project(project.clone()),
            None if grant.queues.is_empty() => Self::Unbound,
            None => Self::of_queues(&grant.queues),
        }
    }

    /// Callers that are bound to these queues.
    pub fn of_queues(queues: &BTreeSet<QueueName>) -> Self {
        Self::Queues(Fingerprint::of(queues).digest())
    }

    /// The project, if it is one.
    pub const fn project(&self) -> Option<&ProjectId> {
        match self {
            Self::Project(project) => Some(project),
            Self::Unbound | Self::Queues(_) => None,
        }
    }

    /// Whether a caller of these bounds may use a name of `owner`. None stands for a name of which is known only that it is
    /// no project's, as its record is of a version that kept no more: the first such caller makes it theirs.
    pub fn may_use(&self, owner: Option<&Self>) -> bool {
        match (self, owner) {
            (Self::Unbound, _) | (Self::Queues(_), None) => true,
            (Self::Project(_), None) => false,
            (caller, Some(owner)) => caller == owner,
        }
    }

    /// What is stored beside the project: one byte for callers without bounds, the digest of the queues, nothing for a
    /// project.
    pub fn stored(&self) -> Option<Vec<u8>> {
        match self {
            Self::Unbound => Some(vec![0]),
            Self::Queues(digest) => Some(digest.as_bytes().to_vec()),
            Self::Project(_) => None,
        }
    }

    /// What [`Self::stored`] and the project stand for; none if a version wrote it that kept the project alone.
    pub fn from_stored(project: Option<ProjectId>, stored: Option<&[u8]>) -> Option<Self> {
        match (project, stored) {
            (Some(project), _) => Some(Self::Project(project)),
            (None, None) => None,
            (None, Some(bytes)) => {
                Some(bytes.try_into().map_or(Self::Unbound, |bytes| Self::Queues(Digest::from_bytes(bytes))))
            }
        }
    }
}

/// What a caller reaches: tasks of its project and its queues, and workers' names that are its own. All of them by default. Each end of an
/// attempt has them along, so that copies share the queues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Only tasks of these queues; of all if none.
    queues: Option<Arc<BTreeSet<QueueName>>>,
    /// Only tasks of its project, if it is a project's.
    owner: Owner,
}

impl Bounds {
    /// Those of a token.
    pub fn of(grant: &Grant) -> Self {
        let queues = (!grant.queues.is_empty()).then(|| Arc::new(grant.queues.clone()));
        Self { queues, owner: Owner::of(grant) }
    }

    /// Whether it reaches all tasks and names.
    pub fn is_unbound(&self) -> bool {
        self.owner == Owner::Unbound
    }

    /// Whether it reaches tasks of this queue and project.
    pub fn covers(&self, queue: &QueueName, project: &ProjectId) -> bool {
        self.queues.as_ref().is_none_or(|queues| queues.contains(queue))
            && self.owner.project().is_none_or(|bound| bound == project)
    }

    /// As far as workers' names go.
    pub const fn owner(&self) -> &Owner {
        &self.owner
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owner() -> impl Strategy<Value = Owner> {
        let queues = proptest::collection::btree_set("[a-c]", 1..3);
        prop_oneof![
            Just(Owner::Unbound),
            "[a-c]".prop_map(|name| Owner::Project(name.parse().unwrap())),
            queues.prop_map(|names| Owner::of_queues(
                &names.iter().map(|name| name.parse().unwrap()).collect()
            )),
        ]
    }

    proptest! {
        #[test]
        fn a_bound_caller_uses_names_of_its_own_bounds_alone(caller in owner(), named in owner()) {
            prop_assert_eq!(caller.may_use(Some(&named)), caller == Owner::Unbound || caller == named);
        }

        #[test]
        fn what_is_stored_of_an_owner_tells_it(owner in owner()) {
            let (project, stored) = (owner.project().cloned(), owner.stored());
            prop_assert_eq!(Owner::from_stored(project, stored.as_deref()), Some(owner));
        }
    }
}
