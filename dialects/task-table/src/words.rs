//! A client's own words, where Baton's fields are narrower than the old table's columns: a type is any text there, a description and a
//! domain are of any length. Baton's fields are made of them, and the words themselves are kept as the first member of the params,
//! so that whoever runs the task has them, too, and they move wherever the params do.

use std::collections::HashMap;

use baton_model::id::{LABEL_CHARS, NAME_BYTES};
use baton_model::{Label, TaskType, limits};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The member that they are kept in.
const MEMBER: &str = "baton_words";

/// How params begin that have it, as [`keep`] writes them.
const BEGINNING: &str = "{\"baton_words\":";

/// The type of a task whose own has no character that a type may have.
const PLAIN: &str = "task";

/// Words that Baton's fields do not hold.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    task_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
    /// The params themselves, if they are no object, or have a member of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    params: Option<Box<RawValue>>,
}

impl Words {
    fn are_none(&self) -> bool {
        let Self { task_type, description, domain, params } = self;
        task_type.is_none() && description.is_none() && domain.is_none() && params.is_none()
    }
}

/// A task in fields that Baton takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// The type, or what is made of it.
    pub task_type: TaskType,
    /// The description, or its beginning.
    pub description: Option<String>,
    /// The domain, or what is made of it.
    pub domain: Option<Label>,
    /// The params, with the words that these fields do not hold.
    pub params: String,
}

/// A task in its client's words.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// The type.
    pub task_type: String,
    /// The description.
    pub description: Option<String>,
    /// The domain.
    pub domain: Option<String>,
    /// The params as they came.
    pub params: String,
}

/// What a type of any text is in Baton.
fn plain_type(text: &str) -> TaskType {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '@' | '+');
    let plain: String = text.chars().take(NAME_BYTES).map(|c| if fits(c) { c } else { '_' }).collect();
    plain.parse().unwrap_or_else(|_| TaskType::from_stored(PLAIN))
}

/// As much of a description as Baton's has.
fn plain_description(text: &str) -> &str {
    text.char_indices().nth(limits::DESCRIPTION_CHARS).map_or(text, |(at, _)| &text[..at])
}

/// What a domain of any text is in Baton; none if it is empty.
fn plain_domain(text: &str) -> Option<Label> {
    let plain: String =
        text.chars().take(LABEL_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.parse().ok()
}

/// A task of a client's words, in Baton's fields. `params` is JSON.
pub fn keep(task_type: &str, description: Option<&str>, domain: Option<&str>, params: &str) -> Kept {
    let description = description.filter(|text| !text.is_empty());
    let domain = domain.filter(|text| !text.is_empty());
    let plain = plain_type(task_type);
    let short = description.map(plain_description);
    let label = domain.and_then(plain_domain);
    let mut words = Words {
        task_type: (plain.as_str() != task_type).then(|| task_type.to_owned()),
        description: description.filter(|text| short != Some(*text)).map(str::to_owned),
        domain: domain.filter(|text| label.as_ref().map(Label::as_str) != Some(*text)).map(str::to_owned),
        params: None,
    };
    let is_apart = match serde_json::from_str::<HashMap<String, &RawValue>>(params) {
        Ok(members) => members.contains_key(MEMBER),
        Err(_) => !words.are_none(),
    };
    if is_apart {
        words.params = RawValue::from_string(params.to_owned()).ok();
    }
    let params = if words.are_none() { params.to_owned() } else { joined(&words, params) };
    Kept { task_type: plain, description: short.map(str::to_owned), domain: label, params }
}

/// The params with the words before all else.
fn joined(words: &Words, params: &str) -> String {
    // Texts and JSON always serialise.
    let told = serde_json::to_string(words).unwrap_or_default();
    let object = params.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    match object.filter(|rest| words.params.is_none() && !rest.trim().is_empty()) {
        Some(rest) => format!("{BEGINNING}{told},{rest}}}"),
        None => format!("{BEGINNING}{told}}}"),
    }
}

/// The words of a task's client; none if Baton's own fields are all of them.
pub fn said(task_type: &str, description: Option<&str>, domain: Option<&str>, params: &str) -> Option<Said> {
    let rest = params.strip_prefix(BEGINNING)?;
    let mut read = serde_json::Deserializer::from_str(rest).into_iter::<Words>();
    let words = read.next()?.ok()?;
    let rest = rest.get(read.byte_offset()..)?;
    if words.are_none() {
        return None;
    }
    // Words that these fields were not made of are no words of this task, but somebody's params.
    let of_type = words.task_type.as_deref().is_none_or(|own| plain_type(own).as_str() == task_type);
    let of_description =
        words.description.as_deref().is_none_or(|own| Some(plain_description(own)) == description);
    let of_domain =
        words.domain.as_deref().is_none_or(|own| plain_domain(own).as_ref().map(Label::as_str) == domain);
    if !(of_type && of_description && of_domain) {
        return None;
    }
    Some(Said {
        task_type: words.task_type.unwrap_or_else(|| task_type.to_owned()),
        description: words.description.or_else(|| description.map(str::to_owned)),
        domain: words.domain.or_else(|| domain.map(str::to_owned)),
        params: match words.params {
            Some(own) => own.get().to_owned(),
            None => format!("{{{}", rest.strip_prefix(',').unwrap_or(rest)),
        },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn again(kept: &Kept) -> Option<Said> {
        let domain = kept.domain.as_ref().map(Label::as_str);
        said(kept.task_type.as_str(), kept.description.as_deref(), domain, &kept.params)
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        let kept = keep("dspy.plan", Some("why?"), Some("books"), r#"{"n": 1.0}"#);
        assert_eq!((kept.task_type.as_str(), kept.params.as_str()), ("dspy.plan", r#"{"n": 1.0}"#));
        assert_eq!(again(&kept), None);
    }

    #[test]
    fn what_does_not_fit_stands_before_the_params() {
        let long = "ü".repeat(5_000);
        let kept = keep("a plan/ü", Some(&long), None, r#"{ "n": 1.0 }"#);
        assert_eq!(kept.task_type.as_str(), "a_plan__");
        assert_eq!(kept.description.as_ref().unwrap().chars().count(), 4_096);
        let told = format!(r#"{{"baton_words":{{"type":"a plan/ü","description":"{long}"}}, "n": 1.0 }}"#);
        assert_eq!(kept.params, told);
        let said = again(&kept).unwrap();
        assert_eq!((said.task_type.as_str(), said.description.as_deref()), ("a plan/ü", Some(&*long)));
        assert_eq!(said.params, r#"{ "n": 1.0 }"#);
        assert_eq!(keep("", None, None, "{ }").params, r#"{"baton_words":{"type":""}}"#);
        assert_eq!(keep("..", None, None, "{}").task_type.as_str(), "task");
    }

    #[test]
    fn params_that_look_like_words_are_told_apart() {
        for params in [
            r#"{"baton_words":{"type":"a b"}}"#,
            r#"{"x": 1, "\u0062aton_words": 2}"#,
            r#"{"baton_words":{"type":"a b"},"n":1}"#,
        ] {
            let kept = keep("a_b", None, None, params);
            let said = again(&kept).unwrap();
            assert_eq!((said.task_type.as_str(), said.params.as_str()), ("a_b", params));
        }
        // What somebody else has put there says nothing of a task that was not made of it.
        for params in
            [r#"{"baton_words":{"type":"a b"}}"#, r#"{"baton_words":{"n":1}}"#, r#"{"baton_words":{}}"#]
        {
            assert_eq!(said("c", None, None, params), None, "{params}");
        }
    }

    proptest! {
        /// Whatever a client says is told again as it said it.
        #[test]
        fn what_is_kept_is_said_again(
            task_type in "[a-c ._/ü\"\\x00]{0,8}",
            description in proptest::option::of("[a\"ü\n]{1,3}"),
            times in 1_usize..3_000,
            domain in proptest::option::of("[a-c \n\t]{1,300}"),
            params in proptest::sample::select(vec![
                "{}", " { } ", r#"{"a":1.0}"#, r#"{"baton_words":{}}"#, r#"{"baton_words":{"params":[]}, "b": {}}"#, "[1]",
            ]),
        ) {
            let description = description.map(|text| text.repeat(times));
            let kept = keep(&task_type, description.as_deref(), domain.as_deref(), params);
            let said = again(&kept).unwrap_or_else(|| Said {
                task_type: kept.task_type.to_string(),
                description: kept.description.clone(),
                domain: kept.domain.as_ref().map(ToString::to_string),
                params: kept.params.clone(),
            });
            prop_assert_eq!(said.task_type, task_type);
            prop_assert_eq!(said.description, description);
            prop_assert_eq!(said.domain, domain);
            let same = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            prop_assert_eq!(same(&said.params), same(params));
        }
    }
}
