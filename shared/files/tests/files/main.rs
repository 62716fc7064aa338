//! Files in a folder: whole or not there, bounded, and gone when nobody names them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it is surprised"
)]

mod past_the_process;

use std::sync::Arc;

use baton_files::{
    Bounds, ByteStream, FileError, FileName, Files, ObjectFiles, Objects, Part, Put, StoredFile,
};
use baton_model::{Place, TaskId, Timestamp};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

const FREE: Bounds = Bounds { file_bytes: u64::MAX, project_bytes: None };

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(second * 1_000)
}

fn name(text: &str) -> FileName {
    text.parse().unwrap()
}

fn put_of(text: &str, id: u128) -> Put {
    Put {
        name: name(text),
        now: at(100),
        id,
        content_type: None,
        task: None,
        kept_until: None,
        only_new: false,
        bounds: FREE,
    }
}

fn stream(parts: Vec<Result<&'static [u8], &'static str>>) -> ByteStream {
    futures::stream::iter(parts).map(|part| part.map(Bytes::from_static).map_err(Into::into)).boxed()
}

/// Files in a folder of their own.
struct World {
    folder: tempfile::TempDir,
    files: ObjectFiles,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = ObjectFiles::new(Objects::open(&Place::Folder(folder.path().join("files"))).unwrap());
        Self { folder, files }
    }

    async fn put(&self, text: &str, id: u128, bytes: &'static [u8]) -> StoredFile {
        self.files.put(put_of(text, id), stream(vec![Ok(bytes)])).await.unwrap()
    }

    async fn read(&self, text: &str, part: Part) -> Vec<u8> {
        let content = self.files.get(&name(text), part).await.unwrap();
        let bytes: Vec<Bytes> = content.bytes.try_collect().await.unwrap();
        assert_eq!(
            content.range.end - content.range.start,
            bytes.iter().map(|some| some.len() as u64).sum::<u64>()
        );
        bytes.concat()
    }

    /// How many files lie in the folder of bytes, those that are not whole included.
    fn objects(&self) -> usize {
        fn count(folder: &std::path::Path) -> usize {
            let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
            let count = |entry: std::io::Result<std::fs::DirEntry>| {
                let path = entry.unwrap().path();
                if path.is_dir() { count(&path) } else { 1 }
            };
            entries.map(count).sum()
        }
        count(&self.folder.path().join("files/bytes"))
    }
}

#[tokio::test]
async fn a_file_is_read_as_it_was_put_whole_and_in_parts() {
    let world = World::new();
    let stored = world.put("p/tasks/1/a.txt", 1, b"0123456789").await;
    assert_eq!((stored.size, stored.content_type.as_str()), (10, "text/plain"));
    assert_eq!(stored.sha256, "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882");
    assert_eq!(world.files.head(&name("p/tasks/1/a.txt")).await.unwrap(), stored);
    for (part, expected) in [
        (Part::Whole, "0123456789"),
        (Part::Bounded(2..5), "234"),
        (Part::Bounded(8..100), "89"),
        (Part::From(7), "789"),
        (Part::Last(3), "789"),
        (Part::Last(100), "0123456789"),
    ] {
        assert_eq!(world.read("p/tasks/1/a.txt", part).await, expected.as_bytes());
    }
    for part in [Part::Bounded(10..11), Part::From(10), Part::Last(0), Part::Bounded(5..5)] {
        let refused = world.files.get(&name("p/tasks/1/a.txt"), part).await.err().unwrap();
        assert!(matches!(refused, FileError::OutOfRange { size: 10 }), "{refused}");
    }
    world.put("p/empty", 2, b"").await;
    assert_eq!(world.read("p/empty", Part::Whole).await, b"");
}

#[tokio::test]
async fn another_file_takes_the_place_of_the_one_before_and_of_its_bytes() {
    let world = World::new();
    world.put("p/a", 1, b"one").await;
    world.put("p/a", 2, b"two!").await;
    assert_eq!(world.read("p/a", Part::Whole).await, b"two!");
    assert_eq!((world.objects(), world.files.usage(&"p".parse().unwrap()).await.unwrap()), (1, 4));
    world.files.remove(&name("p/a")).await.unwrap();
    world.files.remove(&name("p/a")).await.unwrap();
    assert!(matches!(world.files.head(&name("p/a")).await, Err(FileError::NotFound(_))));
    assert_eq!(world.objects(), 0);
}

#[tokio::test]
async fn an_upload_that_is_cut_off_leaves_what_was_there() {
    let world = World::new();
    world.put("p/a", 1, b"one").await;
    let cut = world.files.put(put_of("p/a", 2), stream(vec![Ok(b"tw"), Err("the line is dead")])).await;
    assert!(matches!(cut, Err(FileError::CutOff(_))));
    let cut = world.files.put(put_of("p/b", 3), stream(vec![Err("the line is dead")])).await;
    assert!(matches!(cut, Err(FileError::CutOff(_))));
    // One that nobody waits for any more.
    let (endless, files) = (futures::stream::pending().boxed(), &world.files);
    let dropped = tokio::time::timeout(
        std::time::Duration::from_millis(50),
        files.put(put_of("p/a", 4), stream(vec![Ok(b"three")]).chain(endless).boxed()),
    );
    assert!(dropped.await.is_err());
    assert_eq!(world.read("p/a", Part::Whole).await, b"one");
    assert!(matches!(world.files.head(&name("p/b")).await, Err(FileError::NotFound(_))));
    assert_eq!(world.objects(), 1, "nothing is left of what was cut off");
}

#[tokio::test]
async fn what_is_too_much_is_refused_and_takes_no_room() {
    let world = World::new();
    let bounds = Bounds { file_bytes: 5, project_bytes: Some(8) };
    let put = async |text: &str, id, bytes: &'static [u8]| {
        let put = Put { bounds, ..put_of(text, id) };
        world.files.put(put, stream(vec![Ok(&bytes[..1]), Ok(&bytes[1..])])).await
    };
    assert!(matches!(put("p/a", 1, b"123456").await, Err(FileError::TooLarge { most: 5 })));
    put("p/a", 2, b"12345").await.unwrap();
    let refused = put("p/b", 3, b"1234").await.unwrap_err();
    assert!(matches!(&refused, FileError::OverQuota { most: 8, .. }), "{refused}");
    put("p/b", 4, b"123").await.unwrap();
    put("other/b", 5, b"12345").await.unwrap();
    // What is replaced makes room for what replaces it.
    put("p/a", 6, b"54321").await.unwrap();
    world.files.remove(&name("p/a")).await.unwrap();
    put("p/c", 7, b"12345").await.unwrap();
    assert_eq!(world.objects(), 3);
}

#[tokio::test]
async fn lists_go_by_name_by_pages_and_by_what_paths_begin_with() {
    let world = World::new();
    let names = ["p/a", "p/a/b", "p/a/c d", "p/ab", "p/b/ü~%2F?.png", "q/a"];
    for (id, text) in names.iter().enumerate() {
        world.put(text, id as u128, b"x").await;
    }
    let project = "p".parse().unwrap();
    let paths = async |prefix: &str| {
        let (mut found, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = world.files.list(&project, prefix, after.as_deref(), 2).await.unwrap();
            found.extend(page.items.iter().map(|file| file.name.path().to_owned()));
            match page.next {
                Some(next) => after = Some(next),
                None => return found,
            }
        }
    };
    assert_eq!(paths("").await, ["a", "a/b", "a/c d", "ab", "b/ü~%2F?.png"]);
    assert_eq!(paths("a").await, ["a", "a/b", "a/c d", "ab"]);
    assert_eq!(paths("a/").await, ["a/b", "a/c d"]);
    assert_eq!(paths("b/ü").await, ["b/ü~%2F?.png"]);
    assert_eq!(paths("../q").await, [""; 0]);
    assert_eq!(world.read("p/b/ü~%2F?.png", Part::Whole).await, b"x");
}

#[tokio::test]
async fn a_file_belongs_to_the_first_task_that_takes_it() {
    let world = World::new();
    world.put("p/a", 1, b"x").await;
    let task = |n: u128| TaskId::from_bytes(n.to_be_bytes());
    assert_eq!(world.files.adopt(&name("p/a"), task(1)).await.unwrap().task, Some(task(1)));
    assert_eq!(world.files.adopt(&name("p/a"), task(2)).await.unwrap().task, Some(task(1)));
    assert!(matches!(world.files.adopt(&name("p/b"), task(1)).await, Err(FileError::NotFound(_))));
}

#[tokio::test]
async fn what_is_old_is_found_by_pages_and_bytes_without_a_name_go() {
    let world = World::new();
    for n in 0..5_u128 {
        let put = Put { now: at(n as i64), ..put_of(&format!("p/{n}"), n) };
        world.files.put(put, stream(vec![Ok(b"x")])).await.unwrap();
    }
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let (some, next) = world.files.older(at(3), after, 2).await.unwrap();
        found.extend(some.into_iter().map(|file| file.name.to_string()));
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, ["p/0", "p/1", "p/2"]);
    // As a process leaves them that dies between the bytes and the name.
    std::fs::write(world.folder.path().join("files/bytes/p/ffff"), "lost").unwrap();
    assert_eq!(world.files.sweep_nameless(at(1)).await.unwrap(), 0, "it came just now");
    assert_eq!(world.files.sweep_nameless(Timestamp::MAX).await.unwrap(), 1);
    assert_eq!(world.objects(), 5);
}

#[tokio::test]
async fn all_servers_of_a_place_sign_with_one_key() {
    let world = World::new();
    let place = Place::Folder(world.folder.path().join("files"));
    let other: Arc<dyn Files> = Arc::new(ObjectFiles::new(Objects::open(&place).unwrap()));
    let (ours, theirs) = (world.files.key().await.unwrap(), other.key().await.unwrap());
    let signed = ours.sign(baton_files::Method::Get, &name("p/a"), at(100));
    theirs.check(baton_files::Method::Get, &name("p/a"), &signed, at(99)).unwrap();
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_said_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let refused = Objects::open(&Place::Folder(folder.path().join("file/files"))).unwrap_err();
    assert!(
        refused.to_string().starts_with("expected a folder that can be written, got file://"),
        "{refused}"
    );
    let world = World::new();
    std::fs::write(world.folder.path().join("files/bytes"), "in the way").unwrap();
    let failed = world.files.put(put_of("p/a", 1), stream(vec![Ok(b"x")])).await;
    assert!(matches!(failed, Err(FileError::Unavailable { .. })));
    assert!(matches!(world.files.head(&name("p/a")).await, Err(FileError::NotFound(_))));
}

/// Bytes that come once the test says so.
fn held(bytes: &'static [u8]) -> (tokio::sync::oneshot::Sender<()>, ByteStream) {
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    let bytes = async move {
        wait.await.unwrap();
        Ok(Bytes::from_static(bytes))
    };
    (go, futures::stream::once(bytes).boxed())
}

#[tokio::test]
async fn of_uploads_at_once_the_last_to_be_whole_stands_and_no_bytes_of_the_others_are_left() {
    let world = World::new();
    world.put("p/a", 1, b"old").await;
    let ((go_one, one), (go_two, two)) = (held(b"one"), held(b"two"));
    let (put_one, put_two) = (world.files.put(put_of("p/a", 2), one), world.files.put(put_of("p/a", 3), two));
    let in_turn = async {
        tokio::task::yield_now().await;
        go_two.send(()).unwrap();
        while world.read("p/a", Part::Whole).await != b"two" {
            tokio::task::yield_now().await;
        }
        go_one.send(()).unwrap();
    };
    let (one, two, ()) = tokio::join!(put_one, put_two, in_turn);
    one.unwrap();
    two.unwrap();
    assert_eq!(world.read("p/a", Part::Whole).await, b"one");
    assert_eq!((world.objects(), world.files.usage(&"p".parse().unwrap()).await.unwrap()), (1, 3));
}

#[tokio::test]
async fn what_was_put_or_taken_since_it_was_seen_is_not_removed() {
    let world = World::new();
    let seen = world.put("p/a", 1, b"x").await;
    let anew = Put { now: at(200), ..put_of("p/a", 2) };
    world.files.put(anew, stream(vec![Ok(b"x")])).await.unwrap();
    assert!(!world.files.remove_unchanged(&seen).await.unwrap());
    let seen = world.files.head(&name("p/a")).await.unwrap();
    world.files.adopt(&name("p/a"), TaskId::from_bytes([1; 16])).await.unwrap();
    assert!(!world.files.remove_unchanged(&seen).await.unwrap());
    assert_eq!(world.read("p/a", Part::Whole).await, b"x");
    let seen = world.files.head(&name("p/a")).await.unwrap();
    assert!(world.files.remove_unchanged(&seen).await.unwrap());
    assert!(!world.files.remove_unchanged(&seen).await.unwrap(), "it is gone");
    assert_eq!(world.objects(), 0);
}

/// Whatever runs at once: a name that stands leads to its bytes, and to the last file that was put or to one that was put beside it.
async fn race(one: &ObjectFiles, two: &ObjectFiles, round: u128) {
    let (a, task) = (name("p/a"), TaskId::from_bytes([7; 16]));
    let seen = one.put(put_of("p/a", round * 4), stream(vec![Ok(b"old")])).await.unwrap();
    let anew = Put { now: at(300), ..put_of("p/a", round * 4 + 1) };
    let (put, adopted, removed) =
        tokio::join!(one.put(anew, stream(vec![Ok(b"new")])), two.adopt(&a, task), async {
            if round.is_multiple_of(2) { one.remove_unchanged(&seen).await } else { Ok(false) }
        },);
    put.unwrap();
    removed.unwrap();
    assert!(matches!(adopted, Ok(_) | Err(FileError::NotFound(_))));
    let content = one.get(&a, Part::Whole).await.unwrap();
    let bytes: Vec<Bytes> = content.bytes.try_collect().await.unwrap();
    assert_eq!((bytes.concat().as_slice(), content.file.created_at), (b"new".as_slice(), at(300)), "{round}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_file_that_is_put_is_not_lost_to_a_change_of_the_one_before() {
    let world = World::new();
    for round in 0..100 {
        race(&world.files, &world.files, round).await;
        assert_eq!(world.objects(), 1);
    }
}

/// Two processes on one place that has conditions, each some time away from it.
#[tokio::test(start_paused = true)]
async fn several_processes_undo_nothing_of_one_another_where_the_place_has_conditions() {
    use object_store::throttle::{ThrottleConfig, ThrottledStore};
    let near = Arc::new(object_store::memory::InMemory::new());
    let open = |wait: u64| {
        let wait = std::time::Duration::from_millis(wait);
        let config =
            ThrottleConfig { wait_get_per_call: wait, wait_put_per_call: wait, ..Default::default() };
        let store = Arc::new(ThrottledStore::new(Arc::clone(&near), config));
        ObjectFiles::new(Objects {
            store,
            place: Place::Bucket { bucket: "b".to_owned(), prefix: String::new() },
        })
    };
    // One that adopts looks before the other has put, and would write after it.
    for (one, two) in [(1, 5), (5, 1), (3, 3), (2, 7)] {
        race(&open(one), &open(two), 1).await;
    }
    let (one, two) = (open(1), open(5));
    let (first, second) = tokio::join!(
        one.put(put_of("p/b", 11), stream(vec![Ok(b"one")])),
        two.put(put_of("p/b", 12), stream(vec![Ok(b"two")])),
    );
    first.unwrap();
    second.unwrap();
    assert_eq!(
        one.sweep_nameless(Timestamp::MAX).await.unwrap(),
        0,
        "each has forgotten what it has replaced"
    );
}
