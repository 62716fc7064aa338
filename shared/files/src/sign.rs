//! Presigned addresses: whoever has one may do one thing with one file for a while, without a token.

use std::fmt;

use baton_model::Timestamp;
use hmac::KeyInit;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};

use crate::FileName;
use crate::digest::hex;

type Sha256Mac = Hmac<sha2::Sha256>;

/// What a presigned address allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// To read the file.
    Get,
    /// To put it.
    Put,
}

impl Method {
    /// Its word in HTTP.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
        }
    }
}

/// What a presigned address carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presigned {
    /// Until when it holds, in seconds since 1970.
    pub expires: u64,
    /// The signature, in hexadecimal digits.
    pub signature: String,
}

/// Why a presigned address is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureProblem {
    /// Its time is over.
    #[error("the address has expired; ask for a new one")]
    Expired,
    /// It was made for another file or method, or with another key.
    #[error("the address was not signed for this")]
    Wrong,
}

/// The secret that addresses are signed with.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// A key of these bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Signs an address that holds until `until`.
    pub fn sign(&self, method: Method, name: &FileName, until: Timestamp) -> Presigned {
        let expires = u64::try_from(until.as_millis() / 1_000).unwrap_or(0);
        let code = self.mac(method, name, expires).finalize().into_bytes();
        Presigned { expires, signature: hex(code.iter()) }
    }

    /// Says whether an address holds at `now`.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check(
        &self,
        method: Method,
        name: &FileName,
        presigned: &Presigned,
        now: Timestamp,
    ) -> Result<(), SignatureProblem> {
        let code = bytes_of(&presigned.signature).ok_or(SignatureProblem::Wrong)?;
        // It takes as long, whatever is wrong with it.
        self.mac(method, name, presigned.expires).verify_slice(&code).map_err(|_| SignatureProblem::Wrong)?;
        let second = u64::try_from(now.as_millis() / 1_000).unwrap_or(0);
        if second >= presigned.expires { Err(SignatureProblem::Expired) } else { Ok(()) }
    }

    /// What shows that whoever has it was given it for this text, whose kind keeps it apart from texts of others; in hexadecimal digits.
    pub fn tag(&self, kind: &str, text: &str) -> String {
        hex(self.mac_of(&tagged(kind, text)).finalize().into_bytes().iter())
    }

    /// Whether a tag is that of a text of this kind.
    pub fn is_tag(&self, kind: &str, text: &str, tag: &str) -> bool {
        // It takes as long, whatever is wrong with it.
        bytes_of(tag).is_some_and(|code| self.mac_of(&tagged(kind, text)).verify_slice(&code).is_ok())
    }

    fn mac(&self, method: Method, name: &FileName, expires: u64) -> Sha256Mac {
        // Neither a project nor a path has a line feed in it.
        self.mac_of(&format!("{}\n{name}\n{expires}", method.as_str()))
    }

    fn mac_of(&self, text: &str) -> Sha256Mac {
        // A key is filled up to a block with zeros (RFC 2104).
        let mut block = [0; 64];
        block[..self.0.len()].copy_from_slice(&self.0);
        let mut mac = <Sha256Mac as KeyInit>::new(&block.into());
        mac.update(text.as_bytes());
        mac
    }
}

/// No address is signed for a text that begins so.
fn tagged(kind: &str, text: &str) -> String {
    format!("tag\n{kind}\n{text}")
}

fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_good_for_its_text_and_kind() {
        let key = Key::new([7; 32]);
        let tag = key.tag("upload", "a");
        assert!(key.is_tag("upload", "a", &tag));
        assert!(
            !key.is_tag("upload", "b", &tag)
                && !key.is_tag("other", "a", &tag)
                && !key.is_tag("upload", "a", "")
        );
        // RFC 4231, test case 2, whose key is shorter than a block; the rest of it counts as zeros.
        let mut jefe = [0; 32];
        jefe[..4].copy_from_slice(b"Jefe");
        let code = Key::new(jefe).mac_of("what do ya want for nothing?").finalize().into_bytes();
        let code: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(code, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn an_address_holds_for_what_it_was_signed_for_and_until_its_time_is_over() {
        let key = Key::new([7; 32]);
        let (name, other) = ("p/a".parse::<FileName>().unwrap(), "p/b".parse::<FileName>().unwrap());
        let at = |second: i64| Timestamp::from_millis(second * 1_000);
        let signed = key.sign(Method::Get, &name, at(100));
        let check = |method, name: &FileName, now| key.check(method, name, &signed, at(now));
        assert_eq!(check(Method::Get, &name, 99), Ok(()));
        assert_eq!(check(Method::Get, &name, 100), Err(SignatureProblem::Expired));
        assert_eq!(check(Method::Put, &name, 99), Err(SignatureProblem::Wrong));
        assert_eq!(check(Method::Get, &other, 99), Err(SignatureProblem::Wrong));
        let longer = Presigned { expires: 1_000, ..signed.clone() };
        assert_eq!(key.check(Method::Get, &name, &longer, at(99)), Err(SignatureProblem::Wrong));
        let wrong_key = Key::new([8; 32]).check(Method::Get, &name, &signed, at(99));
        assert_eq!(wrong_key, Err(SignatureProblem::Wrong));
        for odd in ["", "0", "zz", "ü", &signed.signature[2..]] {
            let odd = Presigned { signature: odd.to_owned(), ..signed.clone() };
            assert_eq!(key.check(Method::Get, &name, &odd, at(99)), Err(SignatureProblem::Wrong), "{odd:?}");
        }
    }
}
