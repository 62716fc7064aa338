//! Rules of alerts, and webhooks.

use std::path::PathBuf;
use std::time::Duration;

use baton_alerts::{Command, Rule, SecretText, Webhook};
use baton_model::{Expected, GroupName};

use super::read::Reader;

/// Every setting of a rule of alerts with its default, as TOML with comments.
pub const ALERT_DEFAULTS: &str = include_str!("../../alerts.toml");
/// Every setting of a webhook with its default, as TOML with comments.
pub const WEBHOOK_DEFAULTS: &str = include_str!("../../webhooks.toml");

/// The most words of a command.
const WORDS: usize = 100;
/// Beyond this no figure lies.
const FAR: f64 = 1e18;

pub(super) fn rules(reader: &mut Reader<'_>) -> Vec<Rule> {
    reader.sections("alerts", "rules of alerts", (ALERT_DEFAULTS, Rule::MOST), rule)
}

pub(super) fn webhooks(reader: &mut Reader<'_>) -> Vec<Webhook> {
    reader.sections("webhooks", "webhooks", (WEBHOOK_DEFAULTS, Webhook::MOST), webhook)
}

fn rule(reader: &mut Reader<'_>) -> Option<Rule> {
    let name = reader.text("name", str::parse);
    let kind = reader.text("kind", str::parse);
    let queue = reader.text("queue", |text| match text {
        "" => Ok(None),
        queue => queue.parse().map(Some),
    });
    let above = reader.optional_number("above", "the figure", -FAR..=FAR);
    let below = reader.optional_number("below", "the figure", -FAR..=FAR);
    let longest = Rule::LONGEST.as_secs_f64();
    let patience = reader.number("for_seconds", "seconds", -1.0..=longest);
    let calm = reader.seconds("ends_after_seconds", 0.0..=longest);
    let webhooks = reader.list("webhooks", "a list of names of webhooks", str::parse::<GroupName>);
    if let Some(many) = webhooks.as_ref().map(Vec::len).filter(|many| *many > Rule::WEBHOOKS) {
        let problem = Expected::new(format!("at most {} webhooks", Rule::WEBHOOKS), many.to_string());
        reader.refuse("webhooks", problem);
    }
    let command = command(reader);
    let usual = Rule::of(name?, kind?);
    let patience = if patience < 0.0 { usual.patience } else { Duration::from_secs_f64(patience) };
    let rule = Rule { patience, calm, webhooks: webhooks?, command: command?, ..usual };
    let rule = rule.between(above?, below?).map_err(|problem| reader.refuse("below", problem)).ok()?;
    rule.within(queue?).map_err(|problem| reader.refuse("queue", problem)).ok()
}

fn command(reader: &mut Reader<'_>) -> Option<Option<Command>> {
    let words = reader.list("command", "a program and its arguments", |word| Ok(word.to_owned()));
    let shell = reader.flag("command_shell");
    let timeout = reader.seconds("command_timeout_seconds", 1.0..=3_600.0);
    let words = words?;
    let problem = match words.len() {
        0 => return Some(None),
        many if many > WORDS => Some((format!("at most {WORDS} words"), many.to_string())),
        many if shell && many > 1 => Some(("one text, as a shell reads it".to_owned(), many.to_string())),
        _ if words[0].is_empty() => Some(("a program".to_owned(), "an empty text".to_owned())),
        _ => None,
    };
    if let Some((expected, got)) = problem {
        reader.refuse("command", Expected::new(expected, got));
    }
    Some(Some(Command { words, shell, timeout }))
}

fn webhook(reader: &mut Reader<'_>) -> Option<Webhook> {
    let name = reader.text("name", str::parse);
    let url = reader.text("url", str::parse);
    let secret = reader.text("secret", |text| match text {
        "" => Ok(None),
        secret => secret.parse::<SecretText>().map(Some),
    });
    let file = reader.text("secret_file", |text| Ok((!text.is_empty()).then(|| PathBuf::from(text))));
    let events = reader.list("events", "a list of events", str::parse);
    let queues = reader.list("queues", "a list of queues", str::parse);
    if let Some(many) = queues.as_ref().map(Vec::len).filter(|many| *many > Webhook::QUEUES) {
        let problem = Expected::new(format!("at most {} queues", Webhook::QUEUES), many.to_string());
        reader.refuse("queues", problem);
    }
    let project = reader.text("project", |text| match text {
        "" => Ok(None),
        project => project.parse().map(Some),
    });
    let secret = match (secret?, file?) {
        (Some(secret), None) => Some(secret),
        (None, Some(file)) => {
            let read = std::fs::read_to_string(&file).map_err(|error| {
                Expected::new("a file that holds the secret", format!("{}: {error}", file.display()))
            });
            let secret = read.and_then(|text| text.trim().parse::<SecretText>());
            secret.map_err(|problem| reader.refuse("secret_file", problem)).ok()
        }
        (Some(_), Some(_)) => {
            reader.refuse("secret_file", Expected::new("nothing, as there is a secret", "a file"));
            None
        }
        (None, None) => {
            let expected = "whsec_ and 24 to 64 bytes in base64, or a secret_file";
            reader.refuse("secret", Expected::new(expected, "nothing"));
            None
        }
    };
    Some(Webhook {
        name: name?,
        url: url?,
        secret: secret?,
        events: events?,
        queues: queues?,
        project: project?,
    })
}

#[cfg(test)]
mod tests {
    use baton_alerts::Kind;

    use super::*;
    use crate::{Settings, Sources};

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn load(text: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("baton.toml");
        std::fs::write(&file, text).unwrap();
        std::fs::write(folder.path().join("secret"), format!("{SECRET}\n")).unwrap();
        let text = text.replace("FOLDER", folder.path().to_str().unwrap());
        std::fs::write(&file, text).unwrap();
        let sources = Sources { file: Some(file), ..Sources::default() };
        Settings::load(&sources).map_err(|error| error.to_string())
    }

    #[test]
    fn rules_and_webhooks_are_as_their_settings_say() {
        let settings = load(&format!(
            "[[alerts]]\nname = \"deep\"\nkind = \"queue_depth\"\nqueue = \"gpu\"\nabove = 100\nbelow = \"50\"\n\
             for_seconds = 30\nwebhooks = \"chat\"\ncommand = [\"mail\", \"me\"]\n\
             [[alerts]]\nname = \"disk\"\nkind = \"disk_low\"\nbelow = 5e8\n\
             [[webhooks]]\nname = \"chat\"\nurl = \"https://hooks.example/x\"\nsecret = \"{SECRET}\"\n\
             [[webhooks]]\nname = \"log\"\nurl = \"https://log.example\"\nsecret_file = \"FOLDER/secret\"\n\
             events = [\"task.failed\"]\nproject = \"film\"\n"
        ))
        .unwrap();
        let [deep, disk] = &settings.alerts[..] else { panic!("two") };
        assert_eq!((deep.kind, deep.above, deep.below), (Kind::QueueDepth, 100.0, 50.0));
        assert_eq!((deep.patience, deep.calm), (Duration::from_secs(30), Duration::from_secs(60)));
        assert_eq!(deep.command.as_ref().unwrap().words, ["mail", "me"]);
        assert_eq!((disk.above, disk.below, disk.patience), (5e8, 5e8, Kind::DiskLow.patience()));
        let [chat, log] = &settings.webhooks[..] else { panic!("two") };
        assert_eq!((chat.secret.reveal(), log.secret.reveal()), (SECRET, SECRET));
        assert!(chat.events.is_empty() && log.hears_of_tasks());
        let shown = format!("{settings:?}");
        assert!(!shown.contains("MfKQ9r8") && !shown.contains("hooks.example/x"), "a secret is shown");
        let told: String = settings.explain().iter().map(|one| format!("{}{}", one.key, one.value)).collect();
        assert!(!told.contains("MfKQ9r8"));
    }

    #[test]
    fn what_does_not_fit_is_named_and_no_secret_is_repeated() {
        let told = load(
            "[[alerts]]\nname = \"a\"\nkind = \"depth\"\n\
             [[alerts]]\nname = \"b\"\nkind = \"disk_low\"\nqueue = \"q\"\nabove = \"high\"\n\
             [[alerts]]\nname = \"c\"\nkind = \"queue_depth\"\nabove = 1\nbelow = 2\n\
             [[alerts]]\nname = \"d\"\nkind = \"no_worker\"\ncommand = [\"a\", \"b\"]\ncommand_shell = true\n\
             [[webhooks]]\nname = \"e\"\nurl = \"https://me:hunter2@host\"\nsecret = \"hunter2\"\nevents = [\"task\"]\n\
             [[webhooks]]\nname = \"f\"\nurl = \"https://host\"\n",
        )
        .unwrap_err();
        for part in [
            "alerts.a.kind: expected one of queue_depth",
            "alerts.b.above: expected a number of the figure",
            "alerts.c.below: expected at most above, which is 1, got 2",
            "alerts.d.command: expected one text, as a shell reads it, got 2",
            "webhooks.e.url: expected an address",
            "webhooks.e.secret: expected whsec_",
            "webhooks.e.events: expected one of alert.fired",
            "webhooks.f.secret: expected whsec_",
        ] {
            assert!(told.contains(part), "{part}\nnot in\n{told}");
        }
        assert!(!told.contains("hunter2"), "{told}");
    }
}
