use super::*;

fn load(
    file: Option<&str>,
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Settings, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = file.map(|text| {
        let path = dir.path().join("baton.toml");
        std::fs::write(&path, text).unwrap();
        path
    });
    let own = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    let sources = Sources {
        file: path,
        environment: environment.iter().map(own).collect(),
        flags: flags.iter().map(own).map(|(key, value)| ("--flag".to_owned(), key, value)).collect(),
    };
    Settings::load(&sources).map_err(|error| error.to_string())
}

#[test]
fn the_defaults_are_those_of_the_model() {
    let settings = Settings::defaults().unwrap();
    assert_eq!(settings.server.listen.to_string(), "127.0.0.1:7410");
    assert_eq!(settings.limits, Limits::default());
    assert_eq!(settings.leases, LeasePolicy::default());
    assert_eq!(settings.retention, Retention::default());
    assert_eq!(settings.store.location, StoreLocation::Sqlite("baton.db".into()));
    assert_eq!((settings.store.durability, settings.store.max_bytes), (Durability::Full, None));
    assert_eq!((settings.worker_cap, settings.reaper_interval), (1_000, Duration::from_secs(5)));
}

#[test]
fn a_later_layer_wins() {
    let file = "[server]\nmax_connections = 7\nrequest_timeout_seconds = 2.5\n[log]\nformat = \"json\"\n";
    let environment = [("BATON_SERVER_MAX_CONNECTIONS", "8"), ("BATON_SERVER_LISTEN", "[::1]:1")];
    let settings = load(Some(file), &environment, &[("server.listen", "localhost:0")]).unwrap();
    assert_eq!(settings.server.request_timeout, Duration::from_millis(2_500), "from the file");
    assert_eq!(settings.log.format, LogFormat::Json, "from the file");
    assert_eq!(settings.server.max_connections, 8, "from the environment");
    assert_eq!(settings.server.listen.to_string(), "127.0.0.1:0", "from the flag");
    assert_eq!(settings.server.shutdown_grace, Duration::from_secs(10), "from the defaults");
}

#[test]
fn every_key_that_does_not_fit_is_named_with_what_was_expected_and_what_came() {
    let file =
        "[server]\nmax_connections = 0\nlisen = \"x\"\n[leases]\nworker_cap = \"many\"\n[sever]\na = 1\n";
    let environment = [("BATON_RETENTION_FINISHED_DAYS", "-1"), ("BATON_LOG_COLOUR", "no")];
    let error = load(Some(file), &environment, &[("store.durability", "half")]).unwrap_err();
    for part in [
        "server.max_connections: expected a whole number of connections from 1 to 100000, got 0 (from the file ",
        "leases.worker_cap: expected a whole number of tasks from 1 to 10000, got \"many\"",
        "retention.finished_days: expected a whole number of days from 0 to 36500, got \"-1\" (from the environment \
         variable BATON_RETENTION_FINISHED_DAYS)",
        "store.durability: expected full or normal, got \"half\" (from the flag --flag)",
        "server.lisen: expected one of answer_timeout_seconds, answers_mebibytes, head_timeout_seconds, listen,",
        "sever: expected one of alerts, archive, dialects, dynamodb, files, fleet, keda, leases, limits, log,",
        "log.colour: expected one of directory, file, file_count, file_days, file_mebibytes, format, level, got an unknown key",
    ] {
        assert!(error.contains(part), "{part}\nnot in\n{error}");
    }
    assert_eq!(error.lines().count(), 8, "{error}");
}

#[test]
fn tokens_are_required_wherever_others_than_this_machine_reach_the_address() {
    let required = |environment: &[(&str, &str)]| load(None, environment, &[]).unwrap().tokens.required;
    for address in ["0.0.0.0:7410", "192.168.1.1:80", "[::]:7410", "[::ffff:127.0.0.1]:7410"] {
        assert!(required(&[("BATON_SERVER_LISTEN", address)]), "{address}");
    }
    for address in ["127.0.0.1:7410", "127.8.9.10:1", "[::1]:7410", "localhost:0"] {
        assert!(!required(&[("BATON_SERVER_LISTEN", address)]), "{address}");
    }
    assert!(required(&[("BATON_TOKENS_REQUIRED", "always")]));
    let error = load(None, &[("BATON_TOKENS_REQUIRED", "never")], &[]).unwrap_err();
    assert!(error.contains("tokens.required: expected auto or always, got \"never\""), "{error}");
    assert!(load(None, &[("BATON_SERVER_LISTEN", "7410")], &[]).unwrap_err().contains("an address and port"));
}

#[test]
fn a_limit_of_no_requests_is_no_limit() {
    let limit = |value: &str| load(None, &[("BATON_TOKENS_REQUESTS_PER_SECOND", value)], &[]).unwrap().tokens;
    assert_eq!(limit("0").requests_per_second, None);
    assert_eq!(limit("50").requests_per_second, Some(50));
}

#[test]
fn workers_must_be_asked_to_beat_before_they_count_as_lost() {
    let error = load(Some("[leases]\nheartbeat_timeout_seconds = 20\n"), &[], &[]).unwrap_err();
    assert!(error.contains("leases.heartbeat_interval_seconds: expected less than"), "{error}");
}

#[test]
fn variables_of_other_programs_parts_are_left_alone() {
    let others = [
        ("BATON_URL", "http://127.0.0.1:1"),
        ("PATH", "/bin"),
        ("BATON_CONFIG", "x"),
        ("BATON_TOKEN", "baton_x"),
        ("BATON_TOKEN_FILE", "/x"),
    ];
    load(None, &others, &[]).unwrap();
}

#[test]
fn variables_that_kubernetes_sets_for_services_are_passed_over_and_told() {
    let of_services = [
        ("BATON_SERVER_PORT", "tcp://10.96.0.12:7410"),
        ("BATON_SERVER_SERVICE_HOST", "10.96.0.12"),
        ("BATON_SERVER_SERVICE_PORT", "7410"),
        ("BATON_SERVER_SERVICE_PORT_HTTP", "7410"),
        ("BATON_LOG_PORT_7410_TCP", "tcp://10.96.0.13:7410"),
        ("BATON_LOG_PORT_7410_TCP_PROTO", "tcp"),
        ("BATON_LOG_PORT_7410_TCP_PORT", "7410"),
        ("BATON_LOG_PORT_7410_TCP_ADDR", "10.96.0.13"),
        ("BATON_LEASES_API_PORT_53_UDP_ADDR", "10.96.0.14"),
        ("BATON_STORE_SERVICE_HOST", "fd00::1"),
    ];
    let settings =
        load(None, &[&of_services[..], &[("BATON_SERVER_MAX_CONNECTIONS", "8")]].concat(), &[]).unwrap();
    assert_eq!(settings.passed_over, of_services.map(|(name, _)| name));
    assert_eq!(settings.server.max_connections, 8);
    assert_eq!(settings.server.listen.to_string(), "127.0.0.1:7410");
}

#[test]
fn a_mistake_that_resembles_a_service_variable_is_refused() {
    for (variable, value) in [
        ("BATON_SERVER_PORT", "7410"),
        ("BATON_SERVER_PORT", "http://10.96.0.12"),
        ("BATON_SERVER_HOST", "0.0.0.0"),
        ("BATON_SERVER_SERVICE", "x"),
        ("BATON_LOG_PORT_7410", "x"),
        ("BATON_LOG_PORT_HTTP_TCP", "x"),
        ("BATON_LOG_PORT_7410_TCP_NAME", "x"),
    ] {
        let error = load(None, &[(variable, value)], &[]).unwrap_err();
        assert!(error.contains("an unknown key") && error.contains(variable), "{variable}: {error}");
    }
}

#[test]
fn an_unknown_key_is_answered_with_the_nearest() {
    let error = load(Some("[sever]\na = 1\n"), &[("BATON_SERVER_LISEN", "x")], &[]).unwrap_err();
    assert!(
        error.contains("got an unknown key \"server.lisen\"; the nearest is server.listen (from"),
        "{error}"
    );
    assert!(error.contains("got an unknown key \"sever\"; the nearest is server"), "{error}");
    let error = load(None, &[("BATON_SERVER_SPEED", "x")], &[]).unwrap_err();
    assert!(!error.contains("nearest"), "{error}");
}

#[test]
fn a_setting_that_does_not_fit_is_reported_once() {
    for key in [
        "LEASES_HEARTBEAT_TIMEOUT_SECONDS",
        "LEASES_HEARTBEAT_INTERVAL_SECONDS",
        "LEASES_FORGET_GRACE_SECONDS",
    ] {
        for value in ["-1", "NaN", "x"] {
            let error = load(None, &[(&format!("BATON_{key}"), value)], &[]).unwrap_err();
            assert_eq!(error.lines().count(), 2, "{error}");
        }
    }
}

#[test]
fn a_file_may_begin_with_a_byte_order_mark_and_end_its_lines_as_windows_does() {
    let settings = load(Some("\u{feff}[server]\r\nmax_connections = 7\r\n"), &[], &[]).unwrap();
    assert_eq!(settings.server.max_connections, 7);
}

#[test]
fn an_unreadable_file_is_named() {
    let sources = Sources { file: Some("/nowhere/baton.toml".into()), ..Sources::default() };
    assert!(Settings::load(&sources).unwrap_err().to_string().contains("/nowhere/baton.toml"));
    assert!(load(Some("[server\n"), &[], &[]).unwrap_err().contains("cannot read the file"));
}

#[test]
fn every_key_of_the_defaults_is_documented() {
    let lines: Vec<&str> = DEFAULTS.lines().collect();
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| line.contains(" = ")) {
        if !line.starts_with('#') {
            assert!(lines[number - 1].starts_with('#'), "{line}");
        }
    }
}

#[test]
fn a_misspelt_level_is_refused_instead_of_silencing_the_log() {
    let error = load(None, &[("BATON_LOG_LEVEL", "infos")], &[]).unwrap_err();
    assert!(error.contains("log.level: expected error, warn, info, debug or trace"), "{error}");
    for good in ["info", "INFO", "warn,baton_http=debug", "off"] {
        assert!(load(None, &[("BATON_LOG_LEVEL", good)], &[]).is_ok(), "{good}");
    }
}

#[test]
fn a_store_that_is_neither_file_nor_table_is_refused() {
    for wrong in
        ["sqlite:", "sqlite::memory:", "sqlite:file:x.db", "sqlite:x.db?mode=ro", "x.db", "postgres://x"]
    {
        let error = load(None, &[("BATON_STORE_URL", wrong)], &[]).unwrap_err();
        assert!(error.contains("store.url: expected sqlite: and the path"), "{wrong}: {error}");
    }
    let long = format!("dynamodb:{}", "t".repeat(256));
    for wrong in ["dynamodb:", "dynamodb:ab", "dynamodb:a b c", "dynamodb:eu/tasks", "dynamodb:täsks", &long]
    {
        let error = load(None, &[("BATON_STORE_URL", wrong)], &[]).unwrap_err();
        assert!(error.contains("store.url: expected a table's name of 3 to 255"), "{wrong}: {error}");
    }
}

#[test]
fn one_setting_chooses_the_store() {
    for (text, location) in [
        ("sqlite:a/b.db", StoreLocation::Sqlite("a/b.db".into())),
        ("dynamodb:baton-prod_1.eu", StoreLocation::Dynamodb("baton-prod_1.eu".to_owned())),
    ] {
        let settings = load(None, &[("BATON_STORE_URL", text)], &[]).unwrap();
        assert_eq!(settings.store.location, location);
        assert_eq!(location.to_string(), text, "it is written as it is read");
    }
}

#[test]
fn shards_are_given_by_queue() {
    let shards = |text: &str| load(None, &[("BATON_DYNAMODB_QUEUE_SHARDS", text)], &[]);
    let settings = shards(" gpu=8,thumbs = 4 ").unwrap().store.dynamodb;
    let given: Vec<_> = settings.queue_shards.iter().map(|(queue, n)| (queue.as_str(), *n)).collect();
    assert_eq!(given, [("gpu", 8), ("thumbs", 4)]);
    assert_eq!((settings.spread, settings.recovery), (8, true));
    for wrong in ["gpu", "gpu=0", "gpu=257", "gpu=many", "a b=2"] {
        assert!(
            shards(wrong).unwrap_err().contains("dynamodb.queue_shards: expected queues with"),
            "{wrong}"
        );
    }
    let error = load(None, &[("BATON_DYNAMODB_RECOVERY", "yes")], &[]).unwrap_err();
    assert!(error.contains("dynamodb.recovery: expected true or false, got \"yes\""), "{error}");
}

#[test]
fn a_table_is_named_by_the_rule_of_aws() {
    let settings = load(None, &[("BATON_STORE_URL", "dynamodb:baton-tasks_1.x")], &[]).unwrap();
    assert_eq!(settings.store.location, StoreLocation::Dynamodb("baton-tasks_1.x".to_owned()));
    for wrong in ["dynamodb:", "dynamodb:ab", "dynamodb:a/b/c", &format!("dynamodb:{}", "x".repeat(256))] {
        let error = load(None, &[("BATON_STORE_URL", wrong)], &[]).unwrap_err();
        assert!(error.contains("a table's name of 3 to 255"), "{wrong}: {error}");
    }
}

#[test]
fn queues_are_named_by_their_urls_and_none_is_there_unless_named() {
    assert_eq!(Settings::defaults().unwrap().queues, QueueSettings::default());
    let url = "https://sqs.eu-central-1.amazonaws.com/123456789012/baton-ready";
    let settings = load(None, &[("BATON_QUEUES_READY", url)], &[]).unwrap();
    assert_eq!(settings.queues, QueueSettings { ready: Some(url.to_owned()), ..QueueSettings::default() });
    let error = load(None, &[("BATON_QUEUES_TASK_EVENTS", "baton-task-events")], &[]).unwrap_err();
    assert!(error.contains("queues.task_events: expected the URL of an SQS queue"), "{error}");
}

#[test]
fn a_dialect_is_off_unless_it_is_turned_on_or_has_an_address() {
    let settings = Settings::defaults().unwrap();
    assert!(settings.dialects.places().iter().all(|(_, place)| !place.on && place.listen.is_none()));
    let file = "[dialects.assistant]\nlisten = \"127.0.0.1:8000\"\nprefix = \"/old\"\nlog_mebibytes = 2\n\
                [dialects.drift]\non = true\n";
    let settings = load(Some(file), &[("BATON_DIALECTS_EDGE_FUNCTIONS_ON", "true")], &[]).unwrap();
    let assistant = &settings.dialects.assistant;
    assert!(assistant.place.on && !assistant.place.tokens_required);
    assert_eq!(assistant.place.listen.unwrap().port(), 8000);
    assert_eq!((assistant.place.prefix.as_str(), assistant.log_bytes), ("/old", 2 << 20));
    assert!(settings.dialects.drift.on && settings.dialects.edge_functions.place.on);
    assert!(!settings.dialects.orchestrator.place.on && !settings.dialects.task_table.place.on);
    let settings = load(None, &[], &[("dialects.task-table.on", "true")]).unwrap();
    assert!(settings.dialects.task_table.place.on && !settings.dialects.task_table.late);
}

#[test]
fn origins_of_pages_are_a_list_or_a_text_with_commas() {
    let expected = ["null", "http://localhost:3000"];
    assert!(Settings::defaults().unwrap().dialects.orchestrator.origins.is_empty());
    let file = "[dialects.orchestrator]\norigins = [\"null\", \"http://localhost:3000\"]\n";
    let text = [("BATON_DIALECTS_ORCHESTRATOR_ORIGINS", "null, http://LOCALHOST:3000")];
    for settings in [load(Some(file), &[], &[]), load(None, &text, &[])] {
        assert_eq!(settings.unwrap().dialects.orchestrator.origins, expected);
    }
    for wrong in ["*", "localhost:3000", "http://localhost:3000/", "file://"] {
        let error = load(None, &[], &[("dialects.orchestrator.origins", wrong)]).unwrap_err();
        assert!(error.contains("dialects.orchestrator.origins: expected null for pages"), "{wrong}: {error}");
    }
}

#[test]
fn a_dialects_own_address_says_whether_it_needs_tokens() {
    for (server, required, dialect, needed) in [
        ("127.0.0.1:1", "auto", "127.0.0.1:2", false),
        ("127.0.0.1:1", "auto", "0.0.0.0:2", true),
        ("127.0.0.1:1", "always", "127.0.0.1:2", true),
        ("0.0.0.0:1", "auto", "127.0.0.1:2", false),
        ("0.0.0.0:1", "auto", "", true),
        ("127.0.0.1:1", "auto", "", false),
    ] {
        let flags = [
            ("server.listen", server),
            ("tokens.required", required),
            ("dialects.drift.listen", dialect),
            ("dialects.drift.on", "true"),
        ];
        let settings = load(None, &[], &flags).unwrap();
        assert_eq!(settings.dialects.drift.tokens_required, needed, "{server} {required} {dialect}");
    }
}

#[test]
fn what_does_not_fit_a_dialect_is_named() {
    let file = "[dialects.assistant]\nprefix = \"old/\"\nlog_files = -1\nlisten = \"127.0.0.1:8000\"\n\
                [dialects.drift]\nlisten = \"127.0.0.1:8000\"\nprefx = \"/x\"\n[dialects.drif]\non = true\n";
    let error = load(Some(file), &[("BATON_DIALECTS_DRIFT_LISTN", "x")], &[]).unwrap_err();
    for part in [
        "dialects.assistant.prefix: expected nothing, or the beginning of a path, such as /old",
        "dialects.assistant.log_files: expected a whole number of files from 0 to 1000, got -1",
        "dialects.drift.listen: expected an address that no other dialect has",
        "dialects.drift.prefx: expected one of listen, on, prefix, got an unknown key \"dialects.drift.prefx\"; the nearest is \
         dialects.drift.prefix",
        "dialects.drif: expected one of assistant, drift, edge-functions, orchestrator, task-table",
    ] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
}

#[test]
fn a_level_can_be_told_to_another_process_in_words() {
    for level in ["info", "off", "warn,baton_http=debug", "baton_http=trace"] {
        let parsed = parse_level(level).unwrap();
        assert_eq!(parse_level(&parsed.to_string()).unwrap(), parsed, "{level}: {parsed}");
    }
}
