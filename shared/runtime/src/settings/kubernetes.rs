//! The variables that Kubernetes sets in each container, for each service of its namespace.
//!
//! Those of a service `baton-server` look like settings of the section `server`, and are none. Their shapes:
//! <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>, which also has the older form
//! of Docker's links.

/// Whether a variable has the shape of one that Kubernetes sets for a service. No setting has such a name.
pub(super) fn is_of_service(variable: &str, value: &str) -> bool {
    let protocol = |name: &str| matches!(name, "TCP" | "UDP" | "SCTP");
    let port = |text: &str| text.parse::<u16>().is_ok();
    // `X_SERVICE_HOST`, `X_SERVICE_PORT`, and `X_SERVICE_PORT_HTTP` of a port with a name.
    if variable.ends_with("_SERVICE_HOST") || variable.ends_with("_SERVICE_PORT") {
        return true;
    }
    if variable.contains("_SERVICE_PORT_") {
        return port(value);
    }
    // `X_PORT=tcp://10.96.0.12:7410`. The bare name alone may be a mistake, such as BATON_SERVER_PORT=7410.
    if variable.ends_with("_PORT") && value.contains("://") {
        let scheme = value.split("://").next().unwrap_or_default();
        return protocol(&scheme.to_ascii_uppercase());
    }
    // `X_PORT_7410_TCP`, and with `_PROTO`, `_PORT` and `_ADDR` behind it.
    variable.match_indices("_PORT_").any(|(at, found)| {
        let mut parts = variable[at + found.len()..].split('_');
        parts.next().is_some_and(port)
            && parts.next().is_some_and(protocol)
            && matches!(parts.next(), None | Some("PROTO" | "PORT" | "ADDR"))
            && parts.next().is_none()
    })
}
