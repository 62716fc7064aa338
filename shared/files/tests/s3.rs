//! Files in a bucket of something that speaks as S3 does.
//!
//! `infra/local/test.sh` runs them in a bucket of its engine. In another one, which is there and empty, with its credentials in the
//! environment: `AWS_ENDPOINT_URL=http://127.0.0.1:4570 BATON_TEST_S3_BUCKET=baton-test cargo test -p baton-files --features s3 --test s3`.
//! Without a bucket they have nothing to look at.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it is surprised")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};

use baton_files::{Bounds, ByteStream, FileError, FileName, Files, ObjectFiles, Objects, Part, Put};
use baton_model::{Place, TaskId, Timestamp};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

fn place(prefix: &str) -> Option<Place> {
    let bucket = std::env::var("BATON_TEST_S3_BUCKET").ok()?;
    Some(format!("s3://{bucket}/{prefix}").parse().unwrap())
}

fn open(prefix: &str) -> Option<ObjectFiles> {
    Some(ObjectFiles::new(Objects::open(&place(prefix)?).unwrap()))
}

fn name(text: &str) -> FileName {
    text.parse().unwrap()
}

fn put_of(text: &str, id: u128) -> Put {
    let bounds = Bounds { file_bytes: u64::MAX, project_bytes: Some(1 << 40) };
    Put {
        name: name(text),
        now: Timestamp::from_millis(1_000),
        id,
        content_type: None,
        task: None,
        kept_until: None,
        only_new: false,
        bounds,
    }
}

fn stream(parts: Vec<Bytes>) -> ByteStream {
    futures::stream::iter(parts).map(Ok).boxed()
}

async fn read(files: &ObjectFiles, text: &str, part: Part) -> Vec<u8> {
    let content = files.get(&name(text), part).await.unwrap();
    content.bytes.try_collect::<Vec<Bytes>>().await.unwrap().concat()
}

#[tokio::test]
async fn files_are_whole_listed_read_in_parts_and_removed() {
    let (Some(files), Some(other)) = (open("whole"), open("whole")) else { return };
    let piece = Bytes::from((0..1_000_003_u32).map(|n| (n % 251) as u8).collect::<Vec<u8>>());
    let stored = files.put(put_of("p/tasks/1/ü b~%.bin", 1), stream(vec![piece.clone(); 20])).await.unwrap();
    assert_eq!(stored.size, 20_000_060);
    assert!(read(&files, "p/tasks/1/ü b~%.bin", Part::Whole).await == piece.repeat(20));
    assert_eq!(read(&files, "p/tasks/1/ü b~%.bin", Part::Last(3)).await, piece[piece.len() - 3..]);
    files.put(put_of("p/empty", 2), stream(vec![])).await.unwrap();
    assert_eq!(read(&files, "p/empty", Part::Whole).await, b"");
    files.put(put_of("p/empty", 3), stream(vec![Bytes::from_static(b"no more")])).await.unwrap();
    assert_eq!(read(&files, "p/empty", Part::Whole).await, b"no more");
    let page = files.list(&"p".parse().unwrap(), "", None, 9).await.unwrap();
    let paths: Vec<_> = page.items.iter().map(|file| file.name.path()).collect();
    assert_eq!(paths, ["empty", "tasks/1/ü b~%.bin"]);
    assert_eq!(files.usage(&"p".parse().unwrap()).await.unwrap(), 20_000_067);
    assert_eq!(files.sweep_nameless(Timestamp::MAX).await.unwrap(), 0);
    for path in ["p/empty", "p/tasks/1/ü b~%.bin", "p/none"] {
        files.remove(&name(path)).await.unwrap();
    }
    assert!(matches!(files.head(&name("p/empty")).await, Err(FileError::NotFound(_))));
    let (ours, theirs) = (files.key().await.unwrap(), other.key().await.unwrap());
    let signed = ours.sign(baton_files::Method::Get, &name("p/a"), Timestamp::from_millis(9_000));
    theirs.check(baton_files::Method::Get, &name("p/a"), &signed, Timestamp::from_millis(1)).unwrap();
}

#[tokio::test]
async fn servers_of_one_bucket_undo_nothing_of_one_another() {
    let (Some(first), Some(second), Some(third)) = (open("shared"), open("shared"), open("shared")) else {
        return;
    };
    let servers = [first, second, third];
    let a = name("p/a");
    let put =
        |server: usize, id| servers[server].put(put_of("p/a", id), stream(vec![Bytes::from(vec![b'x'; 9])]));
    for round in 0..20_u128 {
        let task = TaskId::from_bytes(round.to_be_bytes());
        let (one, two, adopted) =
            tokio::join!(put(0, round * 2 + 1), put(1, round * 2 + 2), servers[2].adopt(&a, task));
        one.unwrap();
        two.unwrap();
        assert!(matches!(adopted, Ok(_) | Err(FileError::NotFound(_))));
        assert_eq!(read(&servers[2], "p/a", Part::Whole).await, [b'x'; 9]);
        assert_eq!(servers[0].sweep_nameless(Timestamp::MAX).await.unwrap(), 0, "{round}");
    }
    servers[0].remove(&a).await.unwrap();
}

/// Something that answers each request with this status; its address, and what it was asked for.
fn answering(status: &'static str) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tell, asked) = channel();
    std::thread::spawn(move || {
        while let Ok((mut connection, _)) = listener.accept() {
            // All of a head: what is left unread when the connection is closed would break the answer off.
            let mut first = [0; 8 * 1024];
            let length = connection.read(&mut first).unwrap_or(0);
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = connection.write_all(answer.as_bytes());
            if tell.send(String::from_utf8_lossy(&first[..length]).into_owned()).is_err() {
                return;
            }
        }
    });
    (url, asked)
}

/// In a process of its own, as the environment is that of a whole one.
#[tokio::test]
async fn an_engine_on_this_machine_is_reached_past_all_proxies() {
    const INSIDE: &str = "BATON_TEST_S3_BEHIND_A_PROXY";
    if std::env::var_os(INSIDE).is_some() {
        let files = ObjectFiles::new(Objects::open(&"s3://bucket/prefix".parse().unwrap()).unwrap());
        let found = files.head(&name("p/a")).await;
        assert!(matches!(found, Err(FileError::NotFound(_))), "{found:?}");
        return;
    }
    let (engine, asked) = answering("404 Not Found");
    let (proxy, asked_of_proxy) = answering("418 A proxy");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "an_engine_on_this_machine_is_reached_past_all_proxies"]).env(INSIDE, "1");
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env(name, &proxy);
    }
    for name in ["NO_PROXY", "no_proxy", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT", "AWS_PROXY_URL"] {
        command.env_remove(name);
    }
    command.env("AWS_ENDPOINT_URL", &engine).env("AWS_REGION", "eu-central-1");
    command.env("AWS_ACCESS_KEY_ID", "k").env("AWS_SECRET_ACCESS_KEY", "s");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(asked.try_recv().is_ok(), "the engine was asked");
    assert!(asked_of_proxy.try_recv().is_err(), "the proxy was asked");
}
