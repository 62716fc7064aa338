//! Hosts by their names.

use std::net::IpAddr;

/// Whether what is sent to this host stays on this machine: a loopback address, that of IPv6 with or without the brackets that it has
/// in a URL, or `localhost` and the names below it (RFC 6761, section 6.3).
pub fn is_this_machine(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
    match bare.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(address) => address.is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_told_from_what_only_looks_like_it() {
        for near in
            ["127.0.0.1", "127.8.9.10", "::1", "[::1]", "[::ffff:127.0.0.1]", "LOCALHOST", "s3.localhost."]
        {
            assert!(is_this_machine(near), "{near}");
        }
        for far in ["10.0.0.7", "0.0.0.0", "[::]", "127.0.0.1.example.org", "notlocalhost", ""] {
            assert!(!is_this_machine(far), "{far}");
        }
    }
}
