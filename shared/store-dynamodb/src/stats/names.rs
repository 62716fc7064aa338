//! Which records of the stream are counted: each is known by its name, eight bytes, which is noted in the same transaction
//! that counts it.
//!
//! An item of names is written by each transaction that notes one there, and costs two write units for each started KB. So
//! few items are to take what comes together, and no item is to grow large: at one record a second the names of a minute
//! fit one item, at a thousand those of a tenth of a second do. The rate is not known beforehand, and where a name lies has
//! to follow from what everybody can see, or a record that comes again would not be known. Hence [`LEVELS`]: a name lies in
//! the item of its longest span that is not *full*, and an item that is full is so for ever, and takes no name any more.
//!
//! A name is in one item at most:
//! - it is noted on the condition that the item is not full and does not have it;
//! - before it is noted in the item of a shorter span, those of the longer ones are full and do not have it, as they were
//!   read when they were full already, or as the very transaction makes them full on the condition that they do not have it.
//!
//! What a process knows of items (which are full, and with which names) it keeps, so that a full one costs nothing again.
//! `docs/decisions/0020-names-of-counted-records.md` has what else was considered.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_types::Blob;
use baton_model::{Digest, Timestamp};
use baton_store::StoreError;

use crate::attr::{Item, b, n};
use crate::db::Db;
use crate::expression::Expression;
use crate::keys;

/// A record's name.
pub(crate) type Name = [u8; 8];

/// How long names are kept, in seconds: twice as long as a stream holds a record.
const KEPT_S: i64 = 2 * 86_400;

/// The attribute that holds the names of an item.
const NAMES: &str = "k";

/// The attribute that an item has once it takes no more names.
const FULL: &str = "f";

/// How many names an item takes: a kilobyte of them.
const ROOM: usize = 108;

/// Spans of time, and over how many items each is spread, by the partitions of the table, so that those who count at the same
/// time at a high rate seldom write to the same one.
struct Level {
    seconds: i64,
    parts: u64,
}

/// From long to short. Items of the last never get full.
const LEVELS: [Level; 4] = [
    Level { seconds: 64, parts: 1 },
    Level { seconds: 8, parts: 2 },
    Level { seconds: 1, parts: 4 },
    Level { seconds: 1, parts: 16 },
];

/// Of how many items a process remembers what it knows: some 4 MB. Then all is forgotten, and read again.
const REMEMBERED: usize = 1_000;

/// A record by its name, and what its places follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) name: Name,
    second: i64,
    hash: u64,
}

impl Label {
    /// Of the record of this number in the stream, of the item of this key.
    pub(crate) fn of(partition: &str, sort: &str, number: &str, at: Timestamp) -> Self {
        let mut name = Name::default();
        let digest = Digest::of_bytes(format!("{partition}\n{sort}\n{number}").as_bytes());
        name.copy_from_slice(&digest.as_bytes()[..8]);
        Self { name, second: at.as_millis().div_euclid(1_000), hash: keys::hash(partition.as_bytes()) }
    }

    fn place(&self, level: usize) -> Place {
        let Level { seconds, parts } = LEVELS[level];
        Place { level, from: self.second - self.second.rem_euclid(seconds), part: self.hash % parts }
    }
}

/// An item of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    level: usize,
    /// The second that its span begins with.
    from: i64,
    part: u64,
}

impl Place {
    pub(crate) fn key(&self) -> Item {
        keys::counted_records(self.level, self.from, self.part)
    }

    fn is_last(&self) -> bool {
        self.level + 1 == LEVELS.len()
    }

    /// When DynamoDB removes it, in seconds.
    fn ends(&self) -> i64 {
        self.from + LEVELS[self.level].seconds + KEPT_S
    }
}

/// What a process knows of an item.
#[derive(Clone, Debug)]
enum Known {
    /// That it has so many names at least.
    Open(usize),
    /// That it is full; and, if it was read since, with which names.
    Full(Option<Arc<HashSet<Name>>>),
}

/// What is written to one item of names, on the condition that it has none of these.
#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) place: Place,
    names: Vec<Name>,
    /// Whether it gets full, as it has no room for them, instead of taking them.
    fills: bool,
}

impl Note {
    pub(crate) fn write(&self) -> Expression {
        let Self { place, names, fills } = self;
        let none = Expression::new().when_without_any(NAMES, names.iter().map(|name| b(*name)));
        let none = none.set("xp", n(place.ends()));
        if *fills {
            return none.set(FULL, n(1));
        }
        let blobs = names.iter().map(|name| Blob::new(*name)).collect();
        let all = none.add(NAMES, AttributeValue::Bs(blobs));
        if place.is_last() {
            return all;
        }
        all.when_absent(FULL).when_set_within(NAMES, n(ROOM.saturating_sub(names.len())))
    }

    /// Whether it is refused by an item as this one is.
    fn is_refused_by(&self, item: &Item) -> bool {
        let there = names_in(item);
        let full = item.contains_key(FULL) || there.len() + self.names.len() > ROOM;
        let takes = self.fills || self.place.is_last() || !full;
        !takes || self.names.iter().any(|name| there.contains(name))
    }
}

/// Where names are to be noted.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) notes: Vec<Note>,
    /// The names that are noted already.
    pub(crate) noted: HashSet<Name>,
}

/// What a process knows of items of names.
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<HashMap<Place, Known>>);

impl Names {
    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Known>> {
        // What is in it is whole after each statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what is known; that an item is full stays known.
    fn know(&self, place: Place, known: Known) {
        let mut all = self.lock();
        if all.len() >= REMEMBERED && !all.contains_key(&place) {
            all.clear();
        }
        match (all.get(&place), &known) {
            (Some(Known::Full(_)), Known::Open(_)) | (Some(Known::Full(Some(_))), Known::Full(None)) => {}
            _ => _ = all.insert(place, known),
        }
    }

    /// Notes what an item is like.
    fn see(&self, place: Place, item: &Item) -> Known {
        let names = names_in(item);
        let known = match item.contains_key(FULL) {
            true => Known::Full(Some(Arc::new(names))),
            false => Known::Open(names.len()),
        };
        self.know(place, known.clone());
        known
    }

    /// What is known of an item; of one that is full, with its names.
    async fn known(&self, db: &Db, place: Place) -> Result<Known, StoreError> {
        let known = self.lock().get(&place).cloned();
        match known {
            // It was made full by this process, which has not seen all that others have put into it.
            Some(Known::Full(None)) => Ok(self.see(place, &db.get(place.key()).await?.unwrap_or_default())),
            Some(known) => Ok(known),
            None => Ok(Known::Open(0)),
        }
    }

    /// Where records are to be noted, as far as they are not.
    pub(crate) async fn plan(
        &self,
        db: &Db,
        labels: impl Iterator<Item = Label>,
    ) -> Result<Plan, StoreError> {
        let mut open: BTreeMap<Place, Vec<Label>> = BTreeMap::new();
        for label in labels {
            open.entry(label.place(0)).or_default().push(label);
        }
        let mut plan = Plan::default();
        // Places of longer spans come first.
        while let Some((place, mut labels)) = open.pop_first() {
            let fills = match self.known(db, place).await? {
                Known::Full(names) => {
                    let has = |label: &Label| names.as_ref().is_some_and(|names| names.contains(&label.name));
                    plan.noted.extend(labels.extract_if(.., |label| has(label)).map(|label| label.name));
                    None
                }
                Known::Open(there) => Some(!place.is_last() && there + labels.len() > ROOM),
            };
            if let Some(fills) = fills {
                let names = labels.iter().map(|label| label.name).collect();
                plan.notes.push(Note { place, names, fills });
            }
            if fills != Some(false) {
                for label in labels {
                    open.entry(label.place(place.level + 1)).or_default().push(label);
                }
            }
        }
        Ok(plan)
    }

    /// Notes that notes were written.
    pub(crate) fn written(&self, notes: &[Note]) {
        for Note { place, names, fills } in notes {
            let known = match (self.lock().get(place), fills) {
                (_, true) => Known::Full(None),
                (Some(Known::Open(there)), false) => Known::Open(there + names.len()),
                (_, false) => Known::Open(names.len()),
            };
            self.know(*place, known);
        }
    }

    /// Takes in an item that has refused a note, as it is by now; says whether it is as one that does.
    pub(crate) fn refused(&self, note: &Note, item: &Item, noted: &mut BTreeSet<Name>) -> bool {
        let there = names_in(item);
        noted.extend(note.names.iter().filter(|name| there.contains(*name)));
        self.see(note.place, item);
        note.is_refused_by(item)
    }
}

/// The names that an item has.
fn names_in(item: &Item) -> HashSet<Name> {
    let blobs = item.get(NAMES).and_then(|set| set.as_bs().ok());
    blobs.into_iter().flatten().filter_map(|blob| blob.as_ref().try_into().ok()).collect()
}
