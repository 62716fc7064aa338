//! Where a task stands in its producer's trace, by [W3C Trace Context](https://www.w3.org/TR/trace-context-2/).
//!
//! It is kept as it came and changes nothing that becomes of the task; it is no part of what makes two tasks the same either, as a request
//! that is sent again has a span of its own.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;
use crate::expected::Expected;
use crate::id::TaskId;
use crate::token::unhex;

/// The names of the headers, and of the fields that say the same.
pub const TRACEPARENT: &str = "traceparent";
/// As [`TRACEPARENT`].
pub const TRACESTATE: &str = "tracestate";

/// The flags that have a meaning: sampled, and that the trace's id is random. Others are not passed on (§2.2.2.5).
const KNOWN_FLAGS: u8 = SAMPLED | RANDOM;
const SAMPLED: u8 = 1;
const RANDOM: u8 = 2;

/// A span of a trace: the header `traceparent`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace: [u8; 16],
    span: [u8; 8],
    flags: u8,
}

impl TraceParent {
    /// A span; none if an id is all zeros, which stands for no id.
    pub const fn new(trace: [u8; 16], span: [u8; 8], sampled: bool) -> Option<Self> {
        if u128::from_be_bytes(trace) == 0 || u64::from_be_bytes(span) == 0 {
            return None;
        }
        Some(Self { trace, span, flags: if sampled { SAMPLED } else { 0 } })
    }

    /// The trace's id.
    pub const fn trace(&self) -> [u8; 16] {
        self.trace
    }

    /// The span's id.
    pub const fn span(&self) -> [u8; 8] {
        self.span
    }

    /// Whether its trace is recorded, as far as who made it knows.
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Another span of the same trace.
    #[must_use]
    pub const fn of_same_trace(&self, span: [u8; 8], sampled: bool) -> Self {
        let flags = self.flags & !SAMPLED | if sampled { SAMPLED } else { 0 };
        Self { span, flags, ..*self }
    }

    /// The id of the trace that a task's attempts stand in. A task without a trace is the root of one, which has the task's id; the one id
    /// that is all zeros, which is none of a trace, gives another.
    pub fn trace_of(task: TaskId, trace: Option<&Trace>) -> [u8; 16] {
        match (trace, *task.as_bytes()) {
            (Some(trace), _) => trace.parent.trace,
            (None, id) if id == [0; 16] => *Digest::of_bytes(&id).as_bytes(),
            (None, id) => id,
        }
    }

    /// The span of an attempt, in the trace of its task: whoever knows the task and the number of the attempt knows its span, so that a
    /// claim, what the program does and the end agree on it wherever they are told.
    pub fn of_attempt(task: TaskId, trace: Option<&Trace>, attempt: u32, sampled: bool) -> Self {
        let mut named = [0; 20];
        named[..16].copy_from_slice(task.as_bytes());
        named[16..].copy_from_slice(&attempt.to_be_bytes());
        let digest = Digest::of_bytes(&named);
        let mut span = [0; 8];
        span.copy_from_slice(&digest.as_bytes()[..8]);
        // No id is all zeros.
        span[7] |= u8::from(span == [0; 8]);
        match trace {
            Some(trace) => trace.parent.of_same_trace(span, sampled),
            None => {
                Self { trace: Self::trace_of(task, None), span, flags: if sampled { SAMPLED } else { 0 } }
            }
        }
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (u128::from_be_bytes(self.trace), u64::from_be_bytes(self.span));
        write!(f, "00-{trace:032x}-{span:016x}-{:02x}", self.flags)
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceParent({self})")
    }
}

impl FromStr for TraceParent {
    type Err = Expected;

    /// Reads any version but `ff`, as §3.2.3 has it: of later ones, what version `00` says comes first.
    fn from_str(text: &str) -> Result<Self, Expected> {
        parent_of(text).ok_or_else(|| {
            Expected::text(
                "a traceparent such as 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 (W3C Trace Context)",
                text,
            )
        })
    }
}

/// How long a traceparent of version `00` is, and what of a later one is read.
const PARENT_CHARS: usize = 55;

fn parent_of(text: &str) -> Option<TraceParent> {
    let bytes = text.as_bytes();
    let [version] = unhex(bytes.get(..2)?)?;
    let ends_well = match (version, bytes.get(PARENT_CHARS)) {
        (0xff, _) => false,
        (_, None) => true,
        (0, Some(_)) => false,
        (_, Some(next)) => *next == b'-',
    };
    let has_dashes = [2, 35, 52].iter().all(|at| bytes.get(*at) == Some(&b'-'));
    let trace = unhex(bytes.get(3..35)?)?;
    let span = unhex(bytes.get(36..52)?)?;
    let [flags] = unhex(bytes.get(53..PARENT_CHARS)?)?;
    let flags = flags & KNOWN_FLAGS;
    let parent = TraceParent { flags, ..TraceParent::new(trace, span, false)? };
    (ends_well && has_dashes).then_some(parent)
}

impl Serialize for TraceParent {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceParent {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What the systems that a trace has come through have noted with it: the header `tracestate`, without members that say nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TraceState(Box<str>);

impl TraceState {
    /// How many characters are kept at most; every system is to pass on as many (§3.3.1.5).
    pub const CHARS: usize = 512;
    /// How many members there may be.
    const MEMBERS: usize = 32;
    /// Members of more characters go first where there is no room for all.
    const LONG_MEMBER: usize = 128;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a header says, several joined by commas: none if it is malformed or says nothing. What is too long loses whole members, the
    /// long ones first and then the last ones, as §3.3.1.5 has it.
    pub fn of_header(text: &str) -> Option<Self> {
        let mut members = members_of(text)?;
        let chars = |members: &[&str]| members.iter().map(|one| one.len() + 1).sum::<usize>();
        if chars(&members) > Self::CHARS + 1 {
            members.retain(|one| one.len() <= Self::LONG_MEMBER);
        }
        while chars(&members) > Self::CHARS + 1 {
            members.pop();
        }
        (!members.is_empty()).then(|| Self(members.join(",").into()))
    }
}

impl FromStr for TraceState {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let members = members_of(text).filter(|members| !members.is_empty());
        let joined = members.map(|members| members.join(",")).filter(|joined| joined.len() <= Self::CHARS);
        joined.map(|joined| Self(joined.into())).ok_or_else(|| {
            let expected = format!(
                "a tracestate of 1 to {} members such as vendor=value, with commas, of at most {} characters (W3C Trace Context)",
                Self::MEMBERS,
                Self::CHARS
            );
            Expected::text(expected, text)
        })
    }
}

/// The members of a tracestate; none if it is malformed.
fn members_of(text: &str) -> Option<Vec<&str>> {
    let mut members: Vec<&str> = Vec::new();
    for member in text.split(',').map(|member| member.trim_matches([' ', '\t'])) {
        if member.is_empty() {
            continue;
        }
        let (key, value) = member.split_once('=')?;
        let again = members.iter().any(|one| one.split_once('=').is_some_and(|(known, _)| known == key));
        if again || !is_key(key) || !is_value(value) || members.len() == TraceState::MEMBERS {
            return None;
        }
        members.push(member);
    }
    Some(members)
}

fn is_key(key: &str) -> bool {
    let first = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    let other = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    key.len() <= 256 && key.as_bytes().first().is_some_and(first) && key.bytes().all(other)
}

fn is_value(value: &str) -> bool {
    // Spaces at its end were cut off with the member's.
    let is_char = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'=');
    (1..=256).contains(&value.len()) && value.bytes().all(is_char)
}

impl Serialize for TraceState {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TraceState {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Where a task stands in its producer's trace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Trace {
    /// The span that it was created in.
    pub parent: TraceParent,
    /// What is noted with it.
    pub state: Option<TraceState>,
}

impl Trace {
    /// What two headers say: none if there is no `traceparent`, or a malformed one. A malformed `tracestate` is passed over alone.
    pub fn of_headers(parent: &str, state: Option<&str>) -> Option<Self> {
        let parent = parent.trim_matches([' ', '\t']).parse().ok()?;
        Some(Self { parent, state: state.and_then(TraceState::of_header) })
    }
}

/// As stores keep it: the one, and the other after a space, which the first has none of.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            Some(state) => write!(f, "{} {}", self.parent, state.as_str()),
            None => self.parent.fmt(f),
        }
    }
}

impl FromStr for Trace {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let (parent, state) = match text.split_once(' ') {
            Some((parent, state)) => (parent, Some(state.parse()?)),
            None => (text, None),
        };
        Ok(Self { parent: parent.parse()?, state })
    }
}

impl Serialize for Trace {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Trace {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn parent(text: &str) -> Option<String> {
        text.parse::<TraceParent>().ok().map(|parent| parent.to_string())
    }

    #[test]
    fn a_traceparent_is_read_as_the_specification_says() {
        assert_eq!(parent(PARENT).as_deref(), Some(PARENT));
        for (said, read) in [
            // Later versions: the fields that are known.
            (PARENT.replacen("00", "01", 1), Some(PARENT.to_owned())),
            (format!("cc-{}-what-comes-later", &PARENT[3..]), Some(PARENT.to_owned())),
            (format!("cc-{}.what-comes-later", &PARENT[3..]), None),
            // Flags without a meaning are not passed on.
            (format!("{}ff", &PARENT[..53]), Some(format!("{}03", &PARENT[..53]))),
            (format!("{}0A", &PARENT[..53]), None),
            (PARENT.replacen("00", "ff", 1), None),
            (PARENT.replacen("00", "0", 1), None),
            (format!("{PARENT}-"), None),
            (PARENT.to_uppercase(), None),
            (PARENT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)), None),
            (PARENT.replace("b7ad6b7169203331", &"0".repeat(16)), None),
            (PARENT.replace('-', "_"), None),
            (format!(" {PARENT}"), None),
            (String::new(), None),
            ("00-ü".repeat(30), None),
        ] {
            assert_eq!(parent(&said), read, "{said}");
        }
        let refused = "x".repeat(500).parse::<TraceParent>().unwrap_err();
        assert!(refused.to_string().starts_with("expected a traceparent such as 00-0af7"), "{refused}");
        assert!(refused.got.len() < 100, "{refused}");
    }

    #[test]
    fn a_malformed_header_is_passed_over_and_takes_the_other_with_it_only_if_it_is_the_traceparent() {
        let read = |parent: &str, state| Trace::of_headers(parent, state).map(|trace| trace.to_string());
        assert_eq!(read(PARENT, Some("a=1, ,b=2 ,")), Some(format!("{PARENT} a=1,b=2")));
        assert_eq!(read(PARENT, Some("a=1,a=2")), Some(PARENT.to_owned()));
        assert_eq!(read(PARENT, Some(" , ")), Some(PARENT.to_owned()));
        assert_eq!(read("00-1", Some("a=1")), None);
        assert_eq!(read(&format!(" {PARENT}\t"), None), Some(PARENT.to_owned()));
    }

    #[test]
    fn a_tracestate_that_is_too_long_loses_whole_members() {
        let long = format!("long={}", "x".repeat(200));
        let short: Vec<String> = (0..30).map(|n| format!("k{n:02}={}", "y".repeat(16))).collect();
        let all = format!("{long},{}", short.join(","));
        let kept = TraceState::of_header(&all).unwrap();
        assert!(kept.as_str().len() <= TraceState::CHARS, "{}", kept.as_str().len());
        assert!(kept.as_str().starts_with("k00=") && kept.as_str().contains("k23="), "{}", kept.as_str());
        assert!(all.parse::<TraceState>().is_err(), "a field that is too long is refused");
        let many: Vec<String> = (0..33).map(|n| format!("k{n}=v")).collect();
        assert_eq!(TraceState::of_header(&many.join(",")), None);
    }

    #[test]
    fn hostile_tracestates_are_none() {
        let long_key = format!("{}=1", "a".repeat(257));
        for said in ["a", "=1", "a=", "A=1", "a=ü", "a=b=c", "a=\n", "a\0=1", "a=\x7f", "ä=1", &long_key] {
            assert_eq!(TraceState::of_header(said), None, "{said:?}");
            assert!(said.parse::<TraceState>().is_err(), "{said:?}");
        }
    }

    #[test]
    fn attempts_have_spans_of_their_own_in_one_trace() {
        let task = TaskId::from_bytes([7; 16]);
        let trace: Trace = PARENT.parse().unwrap();
        let [first, again, second] =
            [1, 1, 2].map(|attempt| TraceParent::of_attempt(task, Some(&trace), attempt, true));
        assert_eq!(first, again);
        assert_ne!(first.span(), second.span());
        assert_eq!((first.trace(), second.trace()), (trace.parent.trace(), trace.parent.trace()));
        assert!(!TraceParent::of_attempt(task, Some(&trace), 1, false).is_sampled());
        let root = TraceParent::of_attempt(task, None, 1, true);
        assert_eq!((root.trace(), root.span()), ([7; 16], first.span()));
        // The id of a task may be all zeros, that of a trace may not.
        let nil = TaskId::from_bytes([0; 16]);
        let [first, second] = [1, 2].map(|attempt| TraceParent::of_attempt(nil, None, attempt, true));
        assert_eq!(first.to_string().parse(), Ok(first));
        assert_eq!((first.trace(), second.trace()), (TraceParent::trace_of(nil, None), first.trace()));
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_so_that_it_is_read_as_the_same(text in "\\PC{0,80}", state in "[ -~]{0,600}") {
            if let Ok(parent) = text.parse::<TraceParent>() {
                prop_assert_eq!(parent.to_string().parse::<TraceParent>().unwrap(), parent);
            }
            if let Some(trace) = Trace::of_headers(PARENT, Some(&state)) {
                prop_assert_eq!(trace.to_string().parse::<Trace>().unwrap(), trace);
            }
        }

        #[test]
        fn any_span_is_read_back(trace in any::<[u8; 16]>(), span in any::<[u8; 8]>(), sampled in any::<bool>()) {
            if let Some(parent) = TraceParent::new(trace, span, sampled) {
                prop_assert_eq!(parent.to_string().parse::<TraceParent>().unwrap(), parent);
            }
        }
    }
}
