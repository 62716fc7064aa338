//! That there is to be one task of a key at a time.

use baton_model::{Expected, Label, Unique, UniqueWhile, limits};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::fields::{Fields, ReadFields, describe, parsed, span};

/// A key of which there is one task at a time, within the task's project and queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Unique)]
pub struct UniqueView {
    /// The key; up to 256 characters.
    #[schema(value_type = String)]
    pub key: Label,
    /// For how long its task holds it: `queued` (while the task waits), `unfinished` (the default: until it is completed, failed
    /// or cancelled), or a number of seconds after its creation, whatever becomes of it.
    #[serde(rename = "while", default, serialize_with = "write_held", deserialize_with = "read_held")]
    #[schema(value_type = Option<serde_json::Value>, example = "unfinished")]
    pub held: UniqueWhile,
}

const QUEUED: &str = "queued";
const UNFINISHED: &str = "unfinished";

fn write_held<S: Serializer>(held: &UniqueWhile, to: S) -> Result<S::Ok, S::Error> {
    match held {
        UniqueWhile::Queued => to.serialize_str(QUEUED),
        UniqueWhile::Unfinished => to.serialize_str(UNFINISHED),
        UniqueWhile::For(span) => to.serialize_f64(span.as_secs_f64()),
    }
}

fn read_held<'de, D: Deserializer<'de>>(from: D) -> Result<UniqueWhile, D::Error> {
    let raw = Box::<RawValue>::deserialize(from)?;
    held(&raw).map_err(serde::de::Error::custom)
}

/// For how long a key is held, as a request says it.
fn held(raw: &RawValue) -> Result<UniqueWhile, Expected> {
    let wrong = || Expected::new("queued, unfinished or a number of seconds", describe(raw));
    match serde_json::from_str::<&str>(raw.get()) {
        Ok(QUEUED) => Ok(UniqueWhile::Queued),
        Ok(UNFINISHED) => Ok(UniqueWhile::Unfinished),
        Ok(_) => Err(wrong()),
        Err(_) if raw.get().starts_with(|first: char| first.is_ascii_digit() || first == '-') => {
            span(limits::SHORTEST_SPAN, limits::LONGEST_DELAY)(raw).map(UniqueWhile::For)
        }
        Err(_) => Err(wrong()),
    }
}

impl ReadFields for UniqueView {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let key = f.required("key", parsed);
        let held = f.optional("while", held);
        Some(Self { key: key?, held: held?.unwrap_or_default() })
    }
}

impl From<Unique> for UniqueView {
    fn from(Unique { key, held }: Unique) -> Self {
        Self { key, held }
    }
}

impl From<UniqueView> for Unique {
    fn from(UniqueView { key, held }: UniqueView) -> Self {
        Self { key, held }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_key_is_held_is_read_as_it_is_written() {
        for (text, said) in [
            (r#""queued""#, UniqueWhile::Queued),
            (r#""unfinished""#, UniqueWhile::Unfinished),
            ("1.5", UniqueWhile::For(std::time::Duration::from_millis(1_500))),
        ] {
            let json = format!(r#"{{"key":"k","while":{text}}}"#);
            let view: UniqueView = serde_json::from_str(&json).unwrap();
            assert_eq!(view.held, said);
            assert_eq!(serde_json::to_string(&view).unwrap(), json);
        }
        let view: UniqueView = serde_json::from_str(r#"{"key":"k"}"#).unwrap();
        assert_eq!(view.held, UniqueWhile::Unfinished);
    }

    #[test]
    fn what_is_no_time_to_hold_a_key_for_is_named() {
        let told = |text: &str| held(serde_json::from_str(text).unwrap()).unwrap_err().to_string();
        assert_eq!(told("true"), "expected queued, unfinished or a number of seconds, got true");
        assert!(told(r#""always""#).contains("queued, unfinished or a number of seconds, got \"always\""));
        assert!(told("0").contains("0.001"), "{}", told("0"));
        assert!(told("-1").contains("0.001"), "{}", told("-1"));
    }
}
