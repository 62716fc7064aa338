//! Addresses of pages and routes.

use baton_api::address::{NAME, escaped};

/// A path with its query, whose parts may hold anything.
pub(crate) fn path(parts: &[&str], query: &[(&str, &str)]) -> String {
    let mut path = String::new();
    for part in parts {
        path.push('/');
        path.push_str(&escaped(part, NAME));
    }
    if !query.is_empty() {
        path.push('?');
        path.push_str(&form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish());
    }
    path
}
