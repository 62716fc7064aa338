//! What is filled into the params of a task that Baton makes: `{{time}}`, `{{date}}` and `{{index}}` in its texts.

use serde_json::Value;

use crate::payload::Payload;
use crate::time::Timestamp;

/// What a task is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filling {
    /// The time: `{{time}}`, RFC 3339 in UTC.
    pub at: Timestamp,
    /// The day: `{{date}}`, as `2026-01-31`.
    pub date: String,
    /// Which of those that the same has made it is: `{{index}}`; none if they are not counted, and then it stays as it is.
    pub index: Option<u64>,
}

impl Filling {
    /// The params with what stands in double braces filled in. Params without any stay as they are, to the byte.
    pub fn fill(&self, params: &Payload) -> Payload {
        if !params.as_str().contains("{{") {
            return params.clone();
        }
        let mut value = params.to_value();
        self.fill_value(&mut value);
        Payload::from_value(&value)
    }

    fn fill_value(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                *text = text.replace("{{time}}", &self.at.to_string()).replace("{{date}}", &self.date);
                if let Some(index) = self.index {
                    *text = text.replace("{{index}}", &index.to_string());
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.fill_value(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.fill_value(field)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}
