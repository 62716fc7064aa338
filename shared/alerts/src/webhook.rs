//! Who is told of what.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use baton_model::{Expected, GroupName, ProjectId, QueueName};
use serde::{Deserialize, Serialize};

use crate::event::EventName;

/// A receiver of messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Its name.
    pub name: GroupName,
    /// Where it is.
    pub url: WebhookUrl,
    /// What messages are signed with.
    pub secret: SecretText,
    /// What it hears of; of nothing but what rules of alerts send it, if empty.
    pub events: Vec<EventName>,
    /// The queues whose tasks it hears of; all if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<QueueName>,
    /// The project whose tasks it hears of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectId>,
}

impl Webhook {
    /// The most of the settings, and the most that are set by requests.
    pub const MOST: usize = 50;
    /// The most queues that one names.
    pub const QUEUES: usize = 32;

    /// Whether it hears of something.
    pub fn hears(&self, name: EventName) -> bool {
        self.events.contains(&name)
    }

    /// Whether it hears of anything that happens to tasks.
    pub fn hears_of_tasks(&self) -> bool {
        self.events.iter().any(|name| name.is_of_task())
    }

    /// Whether it hears of something that happened to a task of a queue and a project.
    pub fn hears_of_task(&self, name: EventName, queue: &QueueName, project: &ProjectId) -> bool {
        self.hears(name)
            && (self.queues.is_empty() || self.queues.contains(queue))
            && self.project.as_ref().is_none_or(|own| own == project)
    }
}

/// The address of a receiver.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WebhookUrl(String);

impl WebhookUrl {
    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address without what may be a secret in it: its path and what follows.
    pub fn place(&self) -> String {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        match rest.find(['/', '?', '#']) {
            Some(end) if rest.len() > end + 1 => format!("{scheme}://{}/…", &rest[..end]),
            _ => self.0.clone(),
        }
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookUrl({})", self.place())
    }
}

impl FromStr for WebhookUrl {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let host = rest.map(|rest| &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())]);
        let fits = host.is_some_and(|host| !host.is_empty() && !host.contains('@'))
            && text.len() <= 2_000
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits {
            return Ok(Self(text.to_owned()));
        }
        // What is refused may hold a secret.
        Err(Expected::new(
            "an address that begins with https:// or http://, without a name or password before its host, up to 2000 characters",
            "another text",
        ))
    }
}

/// What messages are signed with: `whsec_` and 24 to 64 bytes in base64.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretText(String);

impl SecretText {
    const PREFIX: &str = "whsec_";

    /// A secret of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(format!("{}{}", Self::PREFIX, STANDARD.encode(bytes)))
    }

    /// The secret itself, for whoever has just made it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub(crate) fn key(&self) -> Vec<u8> {
        let text = self.0.strip_prefix(Self::PREFIX).unwrap_or(&self.0);
        STANDARD.decode(text).unwrap_or_default()
    }
}

impl FromStr for SecretText {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let secret = Self(text.to_owned());
        if text.starts_with(Self::PREFIX) && (24..=64).contains(&secret.key().len()) {
            return Ok(secret);
        }
        Err(Expected::new("whsec_ and 24 to 64 bytes in base64", "another text"))
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("ftp://a")]
    #[case("https://")]
    #[case("https:///a")]
    #[case("https://me:hunter2@a/b")]
    #[case("https://a/ b")]
    #[case("a.example/b")]
    fn what_is_no_address_is_refused_and_not_repeated(#[case] text: &str) {
        let told = text.parse::<WebhookUrl>().unwrap_err().to_string();
        assert!(!told.contains("hunter2"), "{told}");
    }

    #[test]
    fn an_address_is_told_without_what_may_be_secret() {
        let url: WebhookUrl = "https://hooks.example/services/T0/hunter2?token=x".parse().unwrap();
        assert_eq!(url.place(), "https://hooks.example/…");
        assert!(!format!("{url:?}").contains("hunter2"));
        assert_eq!("http://a:8080/".parse::<WebhookUrl>().unwrap().place(), "http://a:8080/");
    }

    #[test]
    fn a_secret_is_not_shown() {
        let secret = SecretText::of(&[7; 24]);
        assert_eq!(secret.reveal().parse::<SecretText>().unwrap(), secret);
        assert_eq!(format!("{secret:?}"), "SecretText(..)");
        for wrong in ["whsec_", "whsec_AAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "whsec_?"] {
            assert!(wrong.parse::<SecretText>().is_err(), "{wrong}");
        }
    }
}
