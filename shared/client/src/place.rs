//! Where an address leads: to this very machine, or over a network.

use reqwest::Url;

/// Whether what is sent to this address stays on this machine.
pub(crate) fn is_this_machine(url: &Url) -> bool {
    baton_model::is_this_machine(url.host_str().unwrap_or_default())
}

/// Whether what is sent to the server at this address stays on this machine, as with `http://127.0.0.1:7410`,
/// `http://[::1]:7410` or `http://localhost:7410`. Such requests go past all proxies. What is no address leads nowhere.
pub fn stays_on_this_machine(base: &str) -> bool {
    Url::parse(base).is_ok_and(|url| is_this_machine(&url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_from_what_only_looks_like_it() {
        for near in [
            "http://127.0.0.1:7410",
            "http://127.8.9.10/",
            "http://127.1:7410",
            "http://[::1]:7410",
            "http://[::ffff:127.0.0.1]:7410",
            "http://localhost",
            "http://LOCALHOST:7410/",
            "http://localhost.:7410",
            "http://baton.localhost:7410",
            "https://127.0.0.1",
        ] {
            assert!(stays_on_this_machine(near), "{near}");
        }
        for far in [
            "http://10.0.0.7:7410",
            // Some systems take it for their own address, others for none.
            "http://0.0.0.0:7410",
            "http://[::]:7410",
            "http://baton.example.org",
            "http://127.0.0.1.example.org",
            "http://localhost.example.org",
            "http://notlocalhost",
            "http://[2001:db8::1]:7410",
            "http://localhost@example.org",
            "127.0.0.1",
            "",
        ] {
            assert!(!stays_on_this_machine(far), "{far}");
        }
    }
}
