//! Who alone may do something for a while, of several servers on a table.

use std::time::Duration;

use baton_model::Timestamp;
use baton_store::{Hold, StoreError};

use crate::attr::{Fields, Item, s, time};
use crate::document::place;
use crate::error::WriteError;
use crate::expression::Expression;
use crate::kept::if_still;
use crate::store::Inner;

/// Where it stands who may do something alone. No kind of documents has this name.
const HELD: &str = "@held";

/// So far ahead a hold may lie, however short the one is that is asked for: some ask for longer than others.
const AHEAD: Duration = Duration::from_secs(600);

fn holder_of(item: &Item) -> Result<&str, StoreError> {
    Fields(item).text("ho")
}

impl Inner {
    pub(crate) async fn hold(
        &self,
        what: &str,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Hold, StoreError> {
        let place = place(HELD, what);
        let standing = self.db.get(place.clone()).await?;
        let (mut before, mut held_until, mut hold) = (None, None, Hold::Begun);
        if let Some(item) = &standing {
            let ends = Fields(item).time("un")?;
            // One that lies far ahead was said by a clock that has been set back since.
            let ahead = until.since(now).saturating_mul(2).max(AHEAD);
            let holds = now < ends && ends.since(now) <= ahead;
            let named = holder_of(item)?;
            if named == holder {
                // Also if it is over: had another one taken it since, that would be named.
                hold = Hold::Continued;
            } else if holds {
                return Ok(Hold::Others);
            }
            (before, held_until) = (Some(s(named)), Some(time(ends)));
        }
        let renewal = Expression::new()
            .when_still("ho", before)
            .when_still("un", held_until)
            .set("ho", s(holder))
            .set("un", time(until));
        match self.db.update(place, &renewal).await {
            Ok(_) => Ok(hold),
            // This very write came twice, or the holder has asked twice at once.
            Err(WriteError::Condition(Some(item))) if holder_of(&item)? == holder => Ok(hold),
            // Another was faster.
            Err(WriteError::Condition(_)) => Ok(Hold::Others),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }

    pub(crate) async fn end_hold(&self, what: &str, holder: &str) -> Result<(), StoreError> {
        let own = Expression::new().when("ho", "=", s(holder));
        if_still(self.db.delete(place(HELD, what), &own).await)
    }
}
