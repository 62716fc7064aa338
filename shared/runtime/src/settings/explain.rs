//! Every setting with its value, where that comes from, and what it does: what a server would go by, told without starting one.

use config::{Config, Value, ValueKind};

use super::changeable::RUNNING;
use super::{DEFAULTS, Settings};

/// A setting as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// Its dotted key, such as `server.listen`.
    pub key: String,
    /// Its value, as TOML has it. A password within an address is left out.
    pub value: String,
    /// Where the value comes from; none for a default.
    pub origin: Option<String>,
    /// What it does, in the words of the reference of settings.
    pub what: String,
    /// Whether it may change while a server runs.
    pub running: bool,
}

impl Explained {
    /// Its section of the settings' file, and its name there.
    pub fn place(&self) -> (&str, &str) {
        self.key.rsplit_once('.').unwrap_or(("", &self.key))
    }
}

impl Settings {
    /// Every setting, by its place in the reference. Groups of workers, machines and pools, which are lists, are not among them.
    pub fn explain(&self) -> Vec<Explained> {
        let explained = words_of(DEFAULTS).into_iter().map(|(key, what)| {
            let value = value_of(&self.merged.0, &key);
            let origin = value.and_then(|value| value.origin()).filter(|origin| *origin != "the defaults");
            let (value, origin) = (value.map_or_else(String::new, told), origin.map(str::to_owned));
            let running = RUNNING.iter().any(|(known, _)| *known == key);
            Explained { key, value, origin, what, running }
        });
        explained.collect()
    }
}

pub(super) fn value_of<'a>(config: &'a Config, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(&config.cache, |value, name| match &value.kind {
        ValueKind::Table(table) => table.get(name),
        _ => None,
    })
}

/// A value of those that hold no password, as text.
pub(super) fn plain(value: &Value) -> String {
    match &value.kind {
        ValueKind::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    }
}

fn told(value: &Value) -> String {
    match &value.kind {
        ValueKind::String(text) => format!("{:?}", without_password(text)),
        ValueKind::Array(values) => format!("[{}]", values.iter().map(told).collect::<Vec<_>>().join(", ")),
        ValueKind::Table(table) => {
            let mut pairs: Vec<_> =
                table.iter().map(|(name, value)| format!("{name} = {}", told(value))).collect();
            pairs.sort();
            format!("{{ {} }}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}

/// An address without the password that it may hold (RFC 3986, section 3.2.1).
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => match rest[..at].split_once(':') {
            Some((user, _)) => format!("{scheme}://{user}:...{}", &rest[at..]),
            None => text.to_owned(),
        },
        None => text.to_owned(),
    }
}

/// The keys of the reference in their order, each with the comment before it.
pub(super) fn words_of(reference: &str) -> Vec<(String, String)> {
    let (mut words, mut section, mut said) = (Vec::new(), "", Vec::new());
    for line in reference.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix('#') {
            said.push(comment.trim());
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        } else if let Some((name, _)) = line.split_once('=') {
            words.push((format!("{section}.{}", name.trim()), said.join(" ")));
        }
        said.clear();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::super::Sources;
    use super::*;

    #[test]
    fn every_setting_has_its_words_and_says_where_its_value_is_from() {
        let sources = Sources {
            environment: vec![("BATON_LEASES_HEARTBEAT_INTERVAL_SECONDS".to_owned(), "3".to_owned())],
            flags: vec![("--listen".to_owned(), "server.listen".to_owned(), "127.0.0.1:1".to_owned())],
            ..Sources::default()
        };
        let all = Settings::load(&sources).unwrap().explain();
        assert_eq!(all[0].key, "server.listen");
        for one in &all {
            assert!(!one.value.is_empty(), "{} has no value", one.key);
            assert!(one.what.len() > 5, "{} is not explained: {:?}", one.key, one.what);
        }
        let of = |key: &str| all.iter().find(|one| one.key == key).unwrap();
        let listen = of("server.listen");
        assert_eq!(
            (listen.value.as_str(), listen.origin.as_deref()),
            ("\"127.0.0.1:1\"", Some("the flag --listen"))
        );
        let beat = of("leases.heartbeat_interval_seconds");
        assert_eq!(
            beat.origin.as_deref(),
            Some("the environment variable BATON_LEASES_HEARTBEAT_INTERVAL_SECONDS")
        );
        assert_eq!(of("server.max_connections").origin, None);
    }

    #[test]
    fn no_password_is_told() {
        assert_eq!(without_password("postgres://me:secret@host/db"), "postgres://me:...@host/db");
        for plain in ["postgres://host/a:b@c", "sqlite:baton.db", "https://host"] {
            assert_eq!(without_password(plain), plain);
        }
    }
}
