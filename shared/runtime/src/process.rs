//! What a process is called where it is told of.

/// The name of the machine, where the system has one.
pub fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    name.or_else(|| std::env::var("HOSTNAME").ok())
}

/// The machine and the number of the process on it: `farm-1:4242`.
pub fn process_name() -> String {
    format!("{}:{}", host_name().as_deref().unwrap_or("localhost"), std::process::id())
}
