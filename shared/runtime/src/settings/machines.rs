//! Who lets the machines that are paid for, and how they are asked.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use baton_model::{Expected, GroupName};

use super::read::Reader;
use super::workers::word;

/// Every setting of a provider of machines with its default, as TOML with comments.
pub const MACHINE_DEFAULTS: &str = include_str!("../../machines.toml");

/// The most providers.
const SOURCES: usize = 20;
/// The most names of machines, and words of a command.
const NAMES: usize = 100;

/// A provider of machines.
#[derive(Clone, Debug, PartialEq)]
pub struct MachineSource {
    /// Its name here.
    pub name: GroupName,
    /// How it is asked.
    pub provider: Provider,
    /// Which of its machines are meant, by name; all if empty.
    pub names: Vec<NamePattern>,
    /// How long one may take until a worker on it is heard of.
    pub start_up: Duration,
}

/// How a provider is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provider {
    /// By programs.
    Command {
        /// The one that prints its machines.
        list: Vec<String>,
        /// The one that ends one of them; empty if there is none.
        terminate: Vec<String>,
        /// The one that starts one; empty if there is none.
        spawn: Vec<String>,
    },
    /// By RunPod's API.
    RunPod {
        /// Its address, if it is another one than the API's own.
        url: Option<String>,
        /// The file with the account's key; none for that of the environment.
        key_file: Option<PathBuf>,
        /// The file with what new pods are made of, if any are to be made.
        pod_file: Option<PathBuf>,
    },
}

/// A name, or the beginning of one with `*` behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern {
    text: String,
    more: bool,
}

impl NamePattern {
    /// Whether a name is meant.
    pub fn fits(&self, name: &str) -> bool {
        if self.more { name.starts_with(&self.text) } else { name == self.text }
    }
}

impl FromStr for NamePattern {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let (name, more) = text.strip_suffix('*').map_or((text, false), |beginning| (beginning, true));
        if name.contains('*') || text.is_empty() || text.len() > 256 {
            return Err(Expected::text(
                "a name, or the beginning of one with a * behind it, such as gpu-*",
                text,
            ));
        }
        Ok(Self { text: name.to_owned(), more })
    }
}

pub(super) fn read(reader: &mut Reader<'_>) -> Vec<MachineSource> {
    reader.sections("machines", "providers of machines", (MACHINE_DEFAULTS, SOURCES), source)
}

fn source(reader: &mut Reader<'_>) -> Option<MachineSource> {
    let name = reader.text("name", str::parse);
    let is_runpod = reader.text("provider", |text| match text {
        "command" => Ok(false),
        "runpod" => Ok(true),
        other => Err(Expected::text("command or runpod", other)),
    });
    let program = "a program and its arguments, such as [\"./machines.sh\", \"--all\"]";
    let list = reader.list("list", program, word);
    let terminate = reader.list("terminate", program, word);
    let spawn = reader.list("spawn", program, word);
    let some = |text: &str| Ok(Some(text.to_owned()).filter(|text| !text.is_empty()));
    let url = reader.text("url", some);
    let key_file = reader.text("key_file", some);
    let pod_file = reader.text("pod_file", some);
    let names = reader.list("names", "a list of names, such as [\"gpu-*\"]", str::parse::<NamePattern>);
    let start_up = reader.seconds("start_up_seconds", 10.0..=86_400.0);
    let (list, terminate, spawn, names) = (list?, terminate?, spawn?, names?);
    let many = [("list", &list), ("terminate", &terminate), ("spawn", &spawn)];
    let many = many.map(|(key, words)| (key, words.len()));
    for (key, many) in many.into_iter().chain([("names", names.len())]) {
        if many > NAMES {
            reader.refuse(key, Expected::new(format!("at most {NAMES}"), many.to_string()));
        }
    }
    let is_runpod = is_runpod?;
    if !is_runpod && list.first().is_none_or(String::is_empty) {
        reader.refuse(
            "list",
            Expected::new("a program that prints the machines, a JSON object a line", "none"),
        );
    }
    let provider = match is_runpod {
        true => Provider::RunPod {
            url: url?,
            key_file: key_file?.map(PathBuf::from),
            pod_file: pod_file?.map(PathBuf::from),
        },
        false => Provider::Command { list, terminate, spawn },
    };
    Some(MachineSource { name: name?, provider, names, start_up })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Settings, Sources};

    fn load(text: &str) -> Result<Vec<MachineSource>, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("baton.toml");
        std::fs::write(&file, text).unwrap();
        let sources = Sources { file: Some(file), ..Sources::default() };
        Settings::load(&sources).map(|settings| settings.machines).map_err(|error| error.to_string())
    }

    #[test]
    fn providers_are_as_their_settings_say() {
        let text = r#"
[[machines]]
name = "rack"
list = ["./list.sh", "--all"]
terminate = ["./end.sh", "{id}"]
spawn = ["./begin.sh", "{name}"]
start_up_seconds = 60
[[machines]]
name = "pods"
provider = "runpod"
key_file = "/run/secrets/runpod"
names = ["gpu_*", "gpu-*"]
"#;
        let [rack, pods] = &load(text).unwrap()[..] else { panic!("two") };
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let provider = Provider::Command {
            list: words(&["./list.sh", "--all"]),
            terminate: words(&["./end.sh", "{id}"]),
            spawn: words(&["./begin.sh", "{name}"]),
        };
        assert_eq!((&rack.provider, rack.start_up), (&provider, Duration::from_secs(60)));
        let provider =
            Provider::RunPod { url: None, key_file: Some("/run/secrets/runpod".into()), pod_file: None };
        assert_eq!(
            (&pods.provider, pods.start_up, pods.names.len()),
            (&provider, Duration::from_secs(600), 2)
        );
        assert!(load("").unwrap().is_empty());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let text = "[[machines]]\nname = \"a\"\n[[machines]]\nname = \"b\"\nprovider = \"ec2\"\nnames = [\"*a\"]\n\
                    start_up_seconds = 1\nstart = 1\n[[machines]]\nname = \"a\"\nlist = \"x\"\n";
        let told = load(text).unwrap_err();
        for part in [
            "machines.a.list: expected a program that prints the machines, a JSON object a line, got none",
            "machines.b.provider: expected command or runpod, got \"ec2\"",
            "machines.b.names: expected a name, or the beginning of one with a * behind it, such as gpu-*, got \"*a\"",
            "machines.b.start_up_seconds: expected a number of seconds from 10 to 86400, got 1",
            "machines.b.start: expected one of",
            "machines.a.name: expected a name that no other one has, got \"a\"",
        ] {
            assert!(told.contains(part), "{part}\nnot in\n{told}");
        }
    }

    #[test]
    fn a_pattern_is_a_name_or_its_beginning() {
        for (pattern, name, fits) in [
            ("gpu-*", "gpu-1", true),
            ("gpu-*", "gpu", false),
            ("gpu-1", "gpu-1", true),
            ("gpu-1", "gpu-12", false),
            ("*", "", true),
        ] {
            assert_eq!(pattern.parse::<NamePattern>().unwrap().fits(name), fits, "{pattern} {name}");
        }
        for bad in ["", "*-gpu", "a*b*"] {
            assert!(bad.parse::<NamePattern>().is_err(), "{bad}");
        }
    }
}
