//! Where a request came to, as its client knows the server: addresses in answers begin so.

use axum::extract::Request;
use baton_api::address::{PATH, escaped};
use http::HeaderMap;
use http::header::HOST;

use crate::edge::Edge;
use crate::path::{BUCKET, Path};

/// The beginning of the dialect's addresses, such as `http://localhost:8000/old`.
#[derive(Clone, Debug)]
pub(crate) struct Origin(String);

impl Origin {
    pub(crate) fn of(edge: &Edge, request: &Request) -> Self {
        Self::told(&edge.settings.place.prefix, request.headers())
    }

    fn told(prefix: &str, headers: &HeaderMap) -> Self {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let scheme = header("x-forwarded-proto").filter(|scheme| *scheme == "https").unwrap_or("http");
        let host = header("x-forwarded-host").or_else(|| header(HOST.as_str())).unwrap_or("localhost");
        Self(format!("{scheme}://{host}{prefix}"))
    }

    /// Where a file is read.
    pub(crate) fn public(&self, path: &Path) -> String {
        format!("{}/storage/v1/object/public/{BUCKET}/{}", self.0, escaped(path.as_str(), PATH))
    }

    /// Whether a file is read at this address, by whatever name its client knew the server.
    pub(crate) fn is_of(address: &str, path: &Path) -> bool {
        address.ends_with(&format!("/storage/v1/object/public/{BUCKET}/{}", escaped(path.as_str(), PATH)))
    }

    /// The file that is read at an address, by whatever name its client knew the server.
    pub(crate) fn path_of(address: &str) -> Option<Path> {
        let address = address.split(['?', '#']).next()?;
        let (_, path) = address.split_once(&format!("/storage/v1/object/public/{BUCKET}/"))?;
        unescaped(path)?.parse().ok()
    }

    /// Whether files of this server are read at an address, by the name that its client has for the server now.
    pub(crate) fn is_own(&self, address: &str) -> bool {
        address.starts_with(&format!("{}/storage/v1/object/public/{BUCKET}/", self.0))
    }

    /// Where a file is put with this token.
    pub(crate) fn upload(&self, path: &Path, token: &str) -> String {
        format!(
            "{}/storage/v1/object/upload/sign/{BUCKET}/{}?token={token}",
            self.0,
            escaped(path.as_str(), PATH)
        )
    }
}

/// A text whose bytes stand partly as `%` and two digits.
fn unescaped(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_begins_as_the_client_has_asked() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "gpu.example:8000".parse().unwrap());
        let path: Path = "u/a b.png".parse().unwrap();
        let expected = "http://gpu.example:8000/old/storage/v1/object/public/image_uploads/u/a%20b.png";
        assert_eq!(Origin::told("/old", &headers).public(&path), expected);
        assert_eq!(Origin::path_of(expected), Some(path.clone()));
        assert!(
            Origin::told("/old", &headers).is_own(expected) && !Origin::told("", &headers).is_own(expected)
        );
        for other in [
            "https://cdn.example/a.png",
            "http://x/storage/v1/object/public/image_uploads/",
            "http://x/storage/v1/object/public/image_uploads/a%2",
            "http://x/storage/v1/object/public/image_uploads/../a",
        ] {
            assert_eq!(Origin::path_of(other), None, "{other}");
        }
        headers.insert("x-forwarded-proto", "https".parse().unwrap());
        headers.insert("x-forwarded-host", "tasks.example".parse().unwrap());
        assert!(Origin::told("", &headers).upload(&path, "t").starts_with("https://tasks.example/storage/"));
    }
}
