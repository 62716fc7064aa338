//! The query of a request, and which tasks it asks for.

use std::collections::BTreeMap;

use baton_http::fastapi;
use http::StatusCode;
use serde_json::{Value, json};

use crate::kept::Kept;
use crate::no::No;
use crate::word::Word;
use crate::wrong::Wrong;

/// How many tasks one answer has if it is not said, and at most.
const LIMIT: usize = 100;
const LIMIT_AT_MOST: usize = 1_000;

/// The parameters behind the question mark; of several of one name the last counts.
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    pub(crate) fn of(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// One parameter, if it is there and not empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    /// The names of a list with commas between them.
    fn names(&self, name: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    fn number(&self, name: &str, default: usize, wrong: &mut Wrong) -> usize {
        let Some(text) = self.text(name) else { return default };
        let number = fastapi::whole_of(text).and_then(|number| usize::try_from(number).ok());
        number.unwrap_or_else(|| {
            let why = "Input should be a valid integer, unable to parse string as an integer";
            wrong.add(("query", name), ("int_parsing", why), &text.into());
            default
        })
    }
}

/// Which tasks are asked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) states: Vec<Word>,
    roles: Vec<String>,
    providers: Vec<String>,
    search: Option<String>,
    pub(crate) limit: usize,
    pub(crate) offset: usize,
}

impl Wanted {
    /// Every task.
    pub(crate) fn all() -> Self {
        Self {
            states: Vec::new(),
            roles: Vec::new(),
            providers: Vec::new(),
            search: None,
            limit: usize::MAX,
            offset: 0,
        }
    }

    /// Those that a query asks for.
    pub(crate) fn of(query: &Query) -> Result<Self, No> {
        let mut states = Vec::new();
        for name in query.names("states") {
            let Some(word) = Word::named(&name) else {
                let known: Vec<_> = Word::ALL.iter().map(|word| word.as_str()).collect();
                let detail = format!("Invalid state: {name}; expected one of {}", known.join(", "));
                return Err(No::Said(StatusCode::BAD_REQUEST, detail));
            };
            states.push(word);
        }
        let mut wrong = Wrong::default();
        let limit = query.number("limit", LIMIT, &mut wrong).min(LIMIT_AT_MOST);
        let offset = query.number("offset", 0, &mut wrong);
        Ok(wrong.none_or(Self {
            states,
            roles: query.names("roles"),
            providers: query.names("providers"),
            search: query.text("search").map(str::to_lowercase),
            limit,
            offset,
        })?)
    }

    /// Whether a task in this state is asked for.
    pub(crate) fn has(&self, word: Word, kept: &Kept) -> bool {
        let among = |names: &[String], one: Option<&str>| {
            names.is_empty() || one.is_some_and(|one| names.iter().any(|name| name == one))
        };
        let found = |text: &String| {
            [&kept.id, &kept.title, &kept.description]
                .iter()
                .any(|part| part.to_lowercase().contains(text.as_str()))
        };
        (self.states.is_empty() || self.states.contains(&word))
            && among(&self.roles, Some(&kept.role))
            && among(&self.providers, kept.provider.as_deref())
            && self.search.as_ref().is_none_or(found)
    }

    /// What was asked for, as it is told with the answer.
    pub(crate) fn told(&self) -> Value {
        let states: Vec<_> = self.states.iter().map(|word| word.as_str()).collect();
        json!({
            "states": states,
            "roles": self.roles,
            "providers": self.providers,
            "search": self.search,
            "limit": self.limit,
            "offset": self.offset,
        })
    }
}
