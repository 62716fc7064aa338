//! The dashboard by itself, over the API of a server elsewhere.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{PATIENCE, Running, World, run, stderr, tool};
use crate::tokens::{json_of, site, with};

/// A token with a slip at its end.
fn misspelt(token: &str) -> String {
    let last = if token.ends_with('0') { '1' } else { '0' };
    format!("{}{last}", &token[..token.len() - 1])
}

/// What was answered to one request.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn location(&self) -> &str {
        assert_eq!(self.status, 303, "{}", self.body);
        self.header("location").unwrap()
    }
}

/// Sends a request, with lines of headers; gives the connection.
fn sent(address: &str, method: &str, path: &str, headers: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let host = if headers.contains("host: ") { String::new() } else { format!("host: {address}\r\n") };
    let head = format!("{method} {path} HTTP/1.1\r\n{host}connection: close\r\n{headers}");
    let length = body.len();
    write!(stream, "{head}content-length: {length}\r\n\r\n{body}").unwrap();
    stream
}

/// What is answered to a request.
pub(crate) fn ask(address: &str, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let mut answer = String::new();
    sent(address, method, path, headers, body).read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// A dashboard that runs, and somebody with a browser before it.
struct Ui {
    address: String,
    cookie: Option<String>,
    log: PathBuf,
    process: Running,
}

impl Ui {
    /// A dashboard of this server.
    fn of(world: &World, server: &str) -> Self {
        Self::at("127.0.0.1:0", world, server)
    }

    /// The same at an address.
    fn at(listen: &str, world: &World, server: &str) -> Self {
        let log = world.path("ui.log");
        let mut command = tool();
        command.args(["ui", "-o", "json", "--listen", listen, "--server", server]);
        // In a folder of its own, where it would show if it opened a store.
        let folder = world.path("ui");
        std::fs::create_dir_all(&folder).unwrap();
        command.env("BATON_LOG_LEVEL", "trace").current_dir(&folder);
        command.stdout(Stdio::piped()).stderr(std::fs::File::create(&log).unwrap());
        let mut process = Running(command.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told = || std::fs::read_to_string(&log).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no dashboard: {}", told()));
        assert_eq!(ready["server"], server);
        let url = ready["url"].as_str().unwrap();
        let address = url.strip_prefix("http://").and_then(|url| url.strip_suffix("/ui")).unwrap().to_owned();
        Self { address, cookie: None, log, process }
    }

    fn headers(&self) -> String {
        self.cookie.as_ref().map(|cookie| format!("cookie: {cookie}\r\n")).unwrap_or_default()
    }

    fn get(&self, path: &str) -> Answer {
        ask(&self.address, "GET", path, &self.headers(), "")
    }

    /// What a page shows.
    fn shown(&self, path: &str) -> String {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    }

    /// Posts a form that the page `from` has, with that page's token.
    fn post(&self, from: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let page = self.get(from).body;
        let form = page.split("name=\"form\" value=\"").nth(1).map(|rest| &rest[..64]).unwrap_or_default();
        let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let fields = fields.iter().map(|(key, value)| format!("&{key}={}", escaped(value)));
        let body = format!("form={form}{}", fields.collect::<String>());
        let headers = format!("content-type: application/x-www-form-urlencoded\r\n{}", self.headers());
        ask(&self.address, "POST", path, &headers, &body)
    }

    fn sign_in(&mut self, token: &str) -> Answer {
        let answer = self.post("/ui/sign-in", "/ui/sign-in", &[("token", token)]);
        if let Some(cookie) = answer.header("set-cookie") {
            self.cookie = cookie.split(';').next().map(str::to_owned);
        }
        answer
    }

    /// Ends it as its user does; gives what it has logged.
    fn end(mut self) -> String {
        self.process.signal(Signal::SIGTERM);
        assert!(self.process.wait().success());
        std::fs::read_to_string(&self.log).unwrap()
    }
}

#[test]
fn the_pages_of_a_server_elsewhere_are_shown_to_who_signs_in_there() {
    let (world, admin) = site();
    let mut ui = Ui::of(&world, &world.url);
    assert_eq!(ui.get("/").location(), "/ui");
    assert_eq!(
        ui.get("/ui/tasks?status=failed").location(),
        "/ui/sign-in?next=%2Fui%2Ftasks%3Fstatus%3Dfailed"
    );
    assert!(ui.shown("/ui/sign-in").contains(&world.url), "one sees whom the token is for");
    for wrong in ["nothing", &misspelt(&admin)] {
        let refused = ui.sign_in(wrong);
        assert!(refused.status == 401 && refused.body.contains("role=\"alert\""), "{}", refused.body);
        assert!(ui.cookie.is_none());
    }
    assert_eq!(ui.sign_in(&admin).location(), "/ui");
    let cookie = ui.cookie.clone().unwrap();
    let port = ui.address.rsplit(':').next().unwrap();
    assert!(
        cookie.starts_with(&format!("baton_ui_{port}=")),
        "not that of a server on the machine: {cookie}"
    );

    let create = ["task", "create", "--type", "render", "--queue", "gpu"];
    let task = json_of(&mut with(&world, &admin, &create));
    let page = format!("/ui/tasks/{}", task["id"].as_str().unwrap());
    let overview = ui.get("/ui");
    assert!(overview.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    for part in ["<bdi>admin</bdi>", &world.url, "data-every=\"15\"", "data-events=\"/ui/events\""] {
        assert!(overview.body.contains(part), "{part}: {}", overview.body);
    }
    assert!(!overview.body.contains("/ui/groups"), "this server supervises no workers");
    let moving = json_of(&mut with(&world, &admin, &["task", "create", "--type", "a", "--queue", "moving"]));
    let server = world.url.strip_prefix("http://").unwrap();
    let headers = format!("authorization: Bearer {admin}\r\ncontent-type: application/json\r\n");
    let claim = json!({"worker_id": "w1", "queues": ["moving"]}).to_string();
    assert_eq!(ask(server, "POST", "/v1/claims", &headers, &claim).status, 200);
    let moving = ui.shown(&format!("/ui/tasks/{}", moving["id"].as_str().unwrap()));
    assert!(moving.contains("data-moving=\"5\""), "{moving}");
    assert!(ui.shown("/ui/tasks").contains(&page));
    assert!(ui.shown("/ui/queues").contains("gpu"));
    for other in
        ["workers", "schedules", "limits", "alerts", "projects", "tokens", "audit", "settings/log.level"]
    {
        ui.shown(&format!("/ui/{other}"));
    }
    let settings = ui.shown("/ui/settings");
    assert!(settings.contains("/ui/settings/log.level") && settings.contains("does not tell"), "{settings}");

    assert!(ui.shown(&page).contains("Cancel the task"));
    let done = ui.post(&page, &format!("{page}/cancel"), &[("reason", "a mistake")]);
    assert_eq!(done.location(), format!("{page}?did=cancelled"));
    assert!(ui.shown(done.location()).contains("The task is cancelled."));
    let shown = json_of(&mut with(&world, &admin, &["task", "show", task["id"].as_str().unwrap()]));
    assert_eq!(
        (&shown["task"]["status"], &shown["history"][1]["by"]),
        (&json!("cancelled"), &json!("admin"))
    );
    let refused = ask(&ui.address, "POST", &format!("{page}/retry"), &ui.headers(), "form=0");
    assert_eq!(refused.status, 403, "a form without the session's token");
    // A name that would be another path of the API is none.
    assert_eq!(ui.get("/ui/tasks/%2E%2E").status, 404);

    let folder: Vec<_> = std::fs::read_dir(world.path("ui")).unwrap().collect();
    assert!(folder.is_empty(), "it keeps nothing: {folder:?}");
    assert_eq!(ui.post("/ui", "/ui/sign-out", &[]).location(), "/ui/sign-in");
    assert!(ui.get("/ui").location().starts_with("/ui/sign-in"));
    let log = ui.end();
    assert!(log.contains("signed in to the dashboard"), "{log}");
    assert!(!log.contains(&admin[39..]) && !log.contains(cookie.split_once('=').unwrap().1), "{log}");
}

#[test]
fn events_of_a_server_elsewhere_come_through_as_they_happen_and_end_with_the_dashboard() {
    let (world, admin) = site();
    let mut ui = Ui::of(&world, &world.url);
    assert!(ui.get("/ui/events").location().starts_with("/ui/sign-in"));
    ui.sign_in(&admin);
    let stream = sent(&ui.address, "GET", "/ui/events", &ui.headers(), "");
    let mut heard = BufReader::new(stream);
    let mut line = String::new();
    while !line.starts_with("content-type: text/event-stream") {
        line.clear();
        assert!(heard.read_line(&mut line).unwrap() > 0, "no events");
    }
    let task = json_of(&mut with(&world, &admin, &["task", "create", "--type", "render"]));
    let id = task["id"].as_str().unwrap();
    while !line.contains(id) {
        line.clear();
        assert!(heard.read_line(&mut line).unwrap() > 0, "it has ended");
    }
    ui.end();
    // It was ended in order, and holds nothing up.
    heard.read_to_string(&mut line).unwrap();
}

#[test]
fn a_server_that_is_away_is_named_and_the_pages_go_on_once_it_is_back() {
    let (mut world, admin) = site();
    let mut ui = Ui::of(&world, &world.url);
    ui.sign_in(&admin);
    ui.shown("/ui");
    assert!(world.end_server().success());
    for path in ["/ui", "/ui/tasks", "/ui/events"] {
        let away = ui.get(path);
        assert_eq!(away.status, 502, "{path}: {}", away.body);
        for part in [
            "The server cannot be reached",
            &format!("no answer from {}", world.url),
            "/errors/server_unreachable",
        ] {
            assert!(away.body.contains(part), "{path}, {part}: {}", away.body);
        }
    }
    assert!(ui.shown("/errors/server_unreachable").starts_with("# The server cannot be reached"));
    assert_eq!(ui.get("/errors/nothing").status, 404);
    world.restart_server();
    assert!(ui.shown("/ui").contains("<bdi>admin</bdi>"), "the session goes on");
    assert!(ui.end().contains("cannot be reached"));
}

#[test]
fn where_no_token_is_needed_everybody_signs_in_unless_only_this_machine_reaches_the_pages() {
    let world = World::new(&[]);
    let id = world.create(&[]);
    let ui = Ui::of(&world, &world.url);
    let page = format!("/ui/tasks/{id}");
    let done = ui.post(&page, &format!("{page}/cancel"), &[]);
    assert_eq!(done.location(), format!("{page}?did=cancelled"));
    assert_eq!(world.task(&id)["task"]["status"], "cancelled");
    for foreign in ["host: evil.example\r\n", "origin: https://evil.example\r\n"] {
        assert_eq!(ask(&ui.address, "GET", "/ui", foreign, "").status, 403, "{foreign}");
    }
    let open = Ui::at("0.0.0.0:0", &world, &world.url);
    assert_eq!(open.get("/ui").location(), "/ui/sign-in?next=%2Fui");
    assert!(open.post("/ui/sign-in", &format!("{page}/retry"), &[]).location().starts_with("/ui/sign-in"));
}

/// A gateway before a server, which answers in its own words what API Gateway does, and tells its address.
fn gateway(server: &str) -> String {
    let (server, listener) =
        (server.strip_prefix("http://").unwrap().to_owned(), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let server = server.clone();
            std::thread::spawn(move || pass(stream.unwrap(), &server));
        }
    });
    format!("http://{address}")
}

/// Passes one request on, unless the gateway itself answers it.
fn pass(mut stream: TcpStream, server: &str) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut head, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        // The client keeps a connection for later, and closes it.
        if reader.read_line(&mut line).unwrap_or_default() == 0 {
            return;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = bytes.parse().unwrap();
        }
        head.push(line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let mut first = head[0].split(' ');
    let (method, path) = (first.next().unwrap(), first.next().unwrap());
    let presents = head.iter().any(|line| line.to_ascii_lowercase().starts_with("authorization: "));
    let is = |beginning: &str| path.starts_with(beginning);
    let own = |status: &str, message: &str| {
        let body = json!({ "message": message }).to_string();
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let answer = if is("/v1/fleet") || is("/v1/alerts") || is("/v1/webhooks") {
        own("404 Not Found", "Not Found")
    } else if is("/v1/limits") {
        own("503 Service Unavailable", "Service Unavailable")
    } else if is("/v1/") && !presents {
        own("401 Unauthorized", "Unauthorized")
    } else {
        let is_new = |line: &&String| !line.starts_with("host: ") && !line.starts_with("content-length: ");
        let headers: String = head[1..].iter().filter(is_new).map(|line| format!("{line}\r\n")).collect();
        let mut told = String::new();
        sent(server, method, path, &headers, std::str::from_utf8(&body).unwrap())
            .read_to_string(&mut told)
            .unwrap();
        // A token that is no good is the authorizer's business, which has no words.
        if told.starts_with("HTTP/1.1 401") { own("403 Forbidden", "Forbidden") } else { told }
    };
    stream.write_all(answer.as_bytes()).unwrap();
}

#[test]
fn what_a_gateway_says_in_the_servers_place_is_understood() {
    let (world, admin) = site();
    let gateway = gateway(&world.url);
    let mut ui = Ui::of(&world, &gateway);
    assert!(ui.get("/ui").location().starts_with("/ui/sign-in"));
    assert_eq!(ui.sign_in(&misspelt(&admin)).status, 401);
    assert_eq!(ui.sign_in(&admin).location(), "/ui");
    assert!(!ui.shown("/ui").contains("/ui/groups"));
    let alerts = ui.get("/ui/alerts");
    assert!(alerts.status == 404 && alerts.body.contains("has no /v1/alerts"), "{}", alerts.body);
    let limits = ui.get("/ui/limits");
    assert!(limits.status == 502 && limits.body.contains("got 503 Service Unavailable"), "{}", limits.body);
}

#[test]
fn what_ui_cannot_show_or_may_not_hold_is_refused_at_its_start() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str], code: i32| {
        let mut command = tool();
        command.arg("ui").args(arguments).current_dir(folder.path());
        stderr(&run(command, code))
    };
    let told = refused(&["--token-file", "admin.token"], 2);
    assert!(told.contains("each person signs in"), "{told}");
    refused(&["--server", "ftp://baton.example.org"], 2);
    refused(&["--listen", "somewhere"], 2);
    let told = refused(&["--server", "http://ada:secret@baton.example.org"], 2);
    assert!(told.contains("a name or a password") && !told.contains("secret"), "{told}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let told = refused(&["--listen", &taken.local_addr().unwrap().to_string()], 1);
    assert!(told.contains("choose another address with --listen"), "{told}");
    let world = World::new(&[]);
    let clear = Ui::of(&world, &world.url.replace("127.0.0.1", "0.0.0.0"));
    assert!(clear.end().contains("over plain http"));
}
