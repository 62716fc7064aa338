//! What lies in two items: a small one says where it stands and is written often, the other one what it says, which may be large and seldom
//! changes. The small one tells which revision has written the other (`pr`): two of one time agree on it.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::TransactWriteItem;
use baton_store::StoreError;

use crate::attr::{Fields, Item, key, n};
use crate::db::Db;
use crate::error::{TransactError, contended, damaged};
use crate::expression::Expression;
use crate::keys;
use crate::transition::{ROUNDS, is_marked};

/// The attribute of both items that says which revision has written what it says.
pub(crate) const PLANNED: &str = "pr";

/// How often two halves of different times are read again, and are as they were, until they are taken for damaged: a change of both takes
/// a moment.
const UNCHANGED: u32 = 4;

/// A kind of thing that lies in two items, under one name in a partition each.
pub(crate) trait Planned: Sized {
    /// What it is, such as `the schedule`.
    const WHAT: &'static str;
    /// The partition of where they stand.
    const STATES: &'static str;
    /// The partition of what they say.
    const PLANS: &'static str;
    /// The item of the table's own that counts them.
    const COUNTED: &'static str;
    /// How many there may be.
    const MOST: u64;

    /// That there are as many as there may be.
    fn too_many() -> StoreError;

    /// Reads one from its two items, which are of one time.
    fn read(state: &Item, plan: &Item) -> Result<Self, StoreError>;

    /// The revision that wrote what it says.
    fn planned(&self) -> u64;

    /// The item of where it stands, with the mark of its write.
    fn state_item(&self, mark: u64) -> Result<Item, StoreError>;

    /// The item of what it says.
    fn plan_item(&self) -> Result<Item, StoreError>;

    /// The condition that it stands as it was read.
    fn as_read(&self) -> Expression;

    /// The key of where one stands.
    fn state_key(name: &str) -> Item {
        key(Self::STATES, name)
    }

    /// The key of what one says.
    fn plan_key(name: &str) -> Item {
        key(Self::PLANS, name)
    }
}

/// Reads one from its two items; none if one of them is of another time than the other.
fn read_pair<P: Planned>(state: &Item, plan: &Item) -> Result<Option<P>, StoreError> {
    if Fields(state).number::<u64>(PLANNED)? != Fields(plan).number::<u64>(PLANNED)? {
        return Ok(None);
    }
    P::read(state, plan).map(Some)
}

fn is_in(partition: &str, item: &Item) -> bool {
    Fields(item).text("pk").is_ok_and(|pk| pk == partition)
}

impl Db {
    /// One by its name, as of now.
    pub(crate) async fn planned<P: Planned>(&self, name: &str) -> Result<Option<P>, StoreError> {
        let (mut before, mut same) = (None, 0);
        for _ in 0..ROUNDS {
            let items = self.get_all(vec![P::state_key(name), P::plan_key(name)]).await?;
            let within = |partition| items.iter().find(|item| is_in(partition, item));
            let (state, plan) = (within(P::STATES), within(P::PLANS));
            match (state, plan) {
                (Some(state), Some(plan)) => {
                    if let Some(found) = read_pair(state, plan)? {
                        return Ok(Some(found));
                    }
                }
                (None, None) => return Ok(None),
                // Made or removed between the two readings.
                _ => {}
            }
            let revision =
                |item: Option<&Item>| item.map(|item| Fields(item).number::<u64>(PLANNED)).transpose();
            let now = Some((revision(state)?, revision(plan)?));
            same = if now == before { same + 1 } else { 0 };
            before = now;
            // Nobody is changing it: one half is without the other for good.
            if same >= UNCHANGED {
                return Err(damaged(format!(
                    "{} {name} is in two items that do not belong together",
                    P::WHAT
                )));
            }
        }
        Err(contended(P::WHAT))
    }

    /// Several by the items of where they stand, in their order. One that is damaged is passed over.
    pub(crate) async fn planned_at<P: Planned>(&self, states: &[Item]) -> Result<Vec<P>, StoreError> {
        let keys = states.iter().map(|state| Fields(state).text("sk").map(P::plan_key));
        let plans = self.get_all(keys.collect::<Result<_, _>>()?).await?;
        self.planned_of(states, &plans).await
    }

    /// Several by the items of where they stand, in their order; those that are gone meanwhile are left out.
    ///
    /// # Errors
    /// If one of them is damaged: a copy that lacks something must not look whole.
    pub(crate) async fn planned_whole<P: Planned>(&self, states: &[Item]) -> Result<Vec<P>, StoreError> {
        let names = states.iter().map(|state| Fields(state).text("sk")).collect::<Result<Vec<_>, _>>()?;
        let plans = self.get_all(names.iter().map(|name| P::plan_key(name)).collect()).await?;
        let named: HashMap<&str, &Item> =
            plans.iter().filter_map(|plan| Some((Fields(plan).text("sk").ok()?, plan))).collect();
        let mut found = Vec::with_capacity(states.len());
        for (state, name) in states.iter().zip(names) {
            let pair = named.get(name).map(|plan| read_pair(state, plan)).transpose()?;
            match pair.flatten() {
                Some(one) => found.push(one),
                None => found.extend(self.planned(name).await?),
            }
        }
        Ok(found)
    }

    /// Several by their names.
    pub(crate) async fn planned_named<P: Planned>(
        &self,
        names: impl Iterator<Item = &str>,
    ) -> Result<Vec<P>, StoreError> {
        let keys = names.flat_map(|name| [P::state_key(name), P::plan_key(name)]).collect();
        let found = self.get_all(keys).await?.into_iter();
        let (plans, states): (Vec<Item>, Vec<Item>) = found.partition(|item| is_in(P::PLANS, item));
        self.planned_of(&states, &plans).await
    }

    /// Several by their items; what is of two times is read again.
    async fn planned_of<P: Planned>(&self, states: &[Item], plans: &[Item]) -> Result<Vec<P>, StoreError> {
        let named: HashMap<&str, &Item> =
            plans.iter().filter_map(|plan| Some((Fields(plan).text("sk").ok()?, plan))).collect();
        let mut found = Vec::with_capacity(states.len());
        for state in states {
            let name = Fields(state).text("sk")?;
            let pair = named.get(name).map(|plan| self.read_one(state, |state| read_pair(state, plan)));
            match pair {
                Some(Some(Some(one))) => found.push(one),
                // Damaged.
                Some(None) => {}
                Some(Some(None)) | None => {
                    let anew = self.planned(name).await;
                    found.extend(self.unless_damaged(P::WHAT, anew)?.flatten());
                }
            }
        }
        Ok(found)
    }

    /// Writes one in the place of what was read, or removes it, with other writes. Says whether it still stood so.
    ///
    /// # Errors
    /// [`Planned::too_many`], if it is one more than there may be.
    pub(crate) async fn put_planned<P: Planned>(
        &self,
        name: &str,
        before: Option<&P>,
        to: Option<&P>,
        along: Option<TransactWriteItem>,
    ) -> Result<bool, StoreError> {
        let mark = self.draw();
        let as_read = before.map_or_else(|| Expression::new().when_absent("pk"), P::as_read);
        let mut writes = Vec::new();
        match to {
            Some(to) => {
                writes.push(self.put_write(to.state_item(mark)?, &as_read)?);
                if before.is_none_or(|before| before.planned() != to.planned()) {
                    writes.push(self.put_write(to.plan_item()?, &Expression::new())?);
                }
            }
            None => {
                writes.push(self.delete_write(P::state_key(name), &as_read)?);
                writes.push(self.delete_write(P::plan_key(name), &Expression::new())?);
            }
        }
        let count = |change: i64| Expression::new().add("n", n(change));
        let counted = match (before, to) {
            (None, Some(_)) => Some(count(1).when_absent_or("n", "<", n(P::MOST))),
            (Some(_), None) => Some(count(-1)),
            _ => None,
        };
        let place = writes.len();
        if let Some(counted) = counted {
            writes.push(self.update_write(keys::meta(P::COUNTED), &counted)?);
        }
        writes.extend(along);
        match self.transact(writes, &format!("{}#{mark}", P::COUNTED)).await {
            Ok(()) => Ok(true),
            Err(TransactError::Failed(error)) => Err(error),
            Err(TransactError::Conditions(told)) => {
                // The first sending of this very write went through, and its answer was lost.
                if let Some((_, Some(item))) = told.first()
                    && is_marked(item, mark)?
                {
                    return Ok(true);
                }
                match told.get(place) {
                    Some((true, _)) => Err(P::too_many()),
                    _ => Ok(false),
                }
            }
        }
    }
}
