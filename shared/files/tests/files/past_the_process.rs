//! Files that come and go by addresses of the place itself.

use std::time::Duration;

use async_trait::async_trait;
use baton_files::{Addresses, Arrived, Cause, Shown, Upload, Wanted};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::*;

struct Signer;

#[async_trait]
impl Addresses for Signer {
    async fn get(&self, object: &str, _: &Shown, _: Duration) -> Result<String, Cause> {
        Ok(object.to_owned())
    }

    async fn put(&self, object: &str, _: Duration) -> Result<String, Cause> {
        Ok(object.to_owned())
    }
}

/// Whether every upload is wanted.
struct Always(bool);

#[async_trait]
impl Wanted for Always {
    async fn is_wanted(&self, _: &Arrived) -> Result<bool, Cause> {
        Ok(self.0)
    }
}

/// Who cannot tell.
struct Unknown;

#[async_trait]
impl Wanted for Unknown {
    async fn is_wanted(&self, _: &Arrived) -> Result<bool, Cause> {
        Err("out of reach".into())
    }
}

fn open(store: &Arc<InMemory>) -> ObjectFiles {
    let place = Place::Bucket { bucket: "b".to_owned(), prefix: String::new() };
    let store = Arc::clone(store) as Arc<dyn ObjectStore>;
    ObjectFiles::addressed(Objects { store, place }, Arc::new(Signer), 10)
}

fn upload(text: &str, id: u128) -> Upload {
    Upload { name: name(text), id, attempt: None, kept_until: None }
}

/// Puts a file at the address of an upload.
async fn arrive(store: &Arc<InMemory>, files: &ObjectFiles, upload: &Upload, bytes: &'static [u8]) {
    let at = files.put_at(upload, Duration::from_secs(60)).await.unwrap().unwrap();
    store.put(&Path::parse(at).unwrap(), Bytes::from_static(bytes).into()).await.unwrap();
}

async fn only(files: &ObjectFiles, text: &str) -> Arrived {
    let mut arrived = files.arrived(Some(&name(text)), 9).await.unwrap();
    assert_eq!(arrived.len(), 1, "{arrived:?}");
    arrived.remove(0)
}

async fn objects(store: &Arc<InMemory>) -> Vec<String> {
    let found: Vec<_> = store.list(None).try_collect().await.unwrap();
    found.into_iter().map(|object| object.location.to_string()).collect()
}

#[tokio::test]
async fn what_has_arrived_is_taken_in_once_whoever_breaks_off_in_between() {
    let store = Arc::new(InMemory::new());
    let (files, others) = (open(&store), open(&store));
    arrive(&store, &files, &upload("p/ü b~%.txt", 1), b"hello").await;
    let arrived = only(&files, "p/ü b~%.txt").await;
    let taken = files.take_in(&arrived, 11, FREE, &Always(true)).await.unwrap().unwrap();
    assert_eq!((taken.size, taken.sha256.as_str()), (5, baton_files::sha256(b"hello").as_str()));
    let task = TaskId::from_bytes([7; 16]);
    files.adopt(&taken.name, task).await.unwrap();
    // Another process has looked before, and goes on only now.
    let again = others.take_in(&arrived, 12, FREE, &Always(true)).await.unwrap().unwrap();
    assert_eq!(again.task, Some(task), "it is told as it stands");
    let stood = files.head(&taken.name).await.unwrap();
    assert_eq!((stood.task, objects(&store).await.len()), (Some(task), 2));
    // What is put at the same address again is another one, which takes the place of the first.
    let left = Path::parse(files.put_at(&upload("p/b", 2), Duration::ZERO).await.unwrap().unwrap()).unwrap();
    arrive(&store, &files, &upload("p/b", 2), b"again").await;
    let arrived = only(&files, "p/b").await;
    let kept = store.get(&left).await.unwrap().bytes().await.unwrap();
    files.take_in(&arrived, 13, FREE, &Always(true)).await.unwrap().unwrap();
    assert!(files.arrived(Some(&name("p/b")), 9).await.unwrap().is_empty());
    store.put(&left, kept.into()).await.unwrap();
    let again = only(&files, "p/b").await;
    assert_eq!(others.take_in(&again, 14, FREE, &Always(true)).await.unwrap().unwrap().size, 5);
    assert_eq!(objects(&store).await.len(), 4, "two names and their bytes");
}

#[tokio::test]
async fn what_was_replaced_before_it_was_taken_in_is_never_seen() {
    let store = Arc::new(InMemory::new());
    let files = open(&store);
    arrive(&store, &files, &upload("p/a", 1), b"old").await;
    let arrived = only(&files, "p/a").await;
    files.put(put_of("p/a", 5), stream(vec![Ok(b"new")])).await.unwrap();
    assert_eq!(files.take_in(&arrived, 11, FREE, &Always(true)).await.unwrap(), None);
    let found = files.get(&name("p/a"), Part::Whole).await.unwrap();
    let bytes: Vec<Bytes> = found.bytes.try_collect().await.unwrap();
    assert_eq!((bytes.concat().as_slice(), objects(&store).await.len()), (b"new".as_slice(), 2));
}

#[tokio::test]
async fn what_is_over_a_bound_is_gone_and_its_copy_with_it() {
    let store = Arc::new(InMemory::new());
    let files = open(&store);
    let tight = Bounds { file_bytes: 4, project_bytes: None };
    let full = Bounds { file_bytes: 100, project_bytes: Some(4) };
    for (bounds, wanted) in [(tight, "TooLarge"), (full, "OverQuota")] {
        arrive(&store, &files, &upload("p/a", 1), b"hello").await;
        let refused = files.take_in(&only(&files, "p/a").await, 11, bounds, &Always(true)).await.unwrap_err();
        assert!(format!("{refused:?}").starts_with(wanted), "{refused:?}");
        assert_eq!(objects(&store).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn large_parts_have_an_address_and_small_ones_go_through_the_process() {
    let store = Arc::new(InMemory::new());
    let files = open(&store);
    let file = files.put(put_of("p/a", 1), stream(vec![Ok(b"eleven byte")])).await.unwrap();
    let at = async |part: Part| files.fetched_at(&file, &part, Duration::from_secs(60)).await.unwrap();
    assert!(at(Part::Whole).await.unwrap().starts_with("bytes/p/a~/"));
    assert_eq!(at(Part::Last(10)).await, None);
    assert_eq!(at(Part::Bounded(0..10)).await, None);
    assert!(at(Part::From(0)).await.is_some());
}

#[tokio::test]
async fn a_walk_goes_on_where_it_was_and_removes_what_has_no_name() {
    let store = Arc::new(InMemory::new());
    let files = open(&store);
    for (number, path) in (1..).zip(["p/a", "p/b", "p/c", "q/a"]) {
        files.put(put_of(path, number), stream(vec![Ok(b"x")])).await.unwrap();
    }
    for at in ["bytes/p/b~/ff", "bytes/p/gone~/ff"] {
        store.put(&Path::parse(at).unwrap(), Bytes::from_static(b"y").into()).await.unwrap();
    }
    let (mut seen, mut nameless, mut after) = (Vec::new(), 0, None);
    loop {
        let walked = files.walk(Timestamp::MAX, after, 2).await.unwrap();
        seen.extend(walked.old.into_iter().map(|file| file.name.to_string()));
        nameless += walked.nameless;
        after = walked.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((seen.join(" ").as_str(), nameless), ("p/a p/b p/c q/a", 2));
    let young = files.walk(Timestamp::from_millis(1), None, 9).await.unwrap();
    assert_eq!((young.old.len(), young.nameless), (0, 0));
    assert_eq!(files.note().await.unwrap(), None);
    files.keep_note("so far").await.unwrap();
    assert_eq!(files.note().await.unwrap().as_deref(), Some("so far"));
}

async fn lay(store: &Arc<InMemory>, at: &str, bytes: &'static [u8]) {
    store.put(&Path::parse(at).unwrap(), Bytes::from_static(bytes).into()).await.unwrap();
}

async fn bytes_of(files: &ObjectFiles, text: &str) -> Vec<u8> {
    let found = files.get(&name(text), Part::Whole).await.unwrap();
    found.bytes.try_collect::<Vec<Bytes>>().await.unwrap().concat()
}

#[tokio::test]
async fn a_copy_that_another_makes_of_the_same_upload_takes_no_room() {
    let store = Arc::new(InMemory::new());
    let tight = Bounds { file_bytes: 100, project_bytes: Some(12) };
    open(&store).put(put_of("p/a", 1), stream(vec![Ok(b"stands")])).await.unwrap();
    // Fresh ones, which have counted nothing yet; the other has copied it, and has put no name.
    let files = open(&store);
    arrive(&store, &files, &upload("p/a", 2), b"ten bytes!").await;
    lay(&store, "bytes/p/a~/0f", b"ten bytes!").await;
    let arrived = only(&files, "p/a").await;
    files.fits(&arrived, tight).await.unwrap();
    assert_eq!(files.take_in(&arrived, 11, tight, &Always(true)).await.unwrap().unwrap().size, 10);
    assert_eq!(bytes_of(&files, "p/a").await, b"ten bytes!");

    // What lies under other names counts; but what another copies at the moment is not taken from him.
    lay(&store, "bytes/p/b~/0f", b"12 bytes: ok").await;
    let files = open(&store);
    arrive(&store, &files, &upload("p/a", 3), b"never").await;
    let arrived = only(&files, "p/a").await;
    for _ in 0..2 {
        let refused = files.take_in(&arrived, 12, tight, &Always(true)).await.unwrap_err();
        assert!(matches!(refused, FileError::OverQuota { .. }), "{refused:?}");
        assert_eq!(only(&files, "p/a").await, arrived);
    }
    store.delete(&Path::parse("bytes/p/a~/0f").unwrap()).await.unwrap();
    files.fits(&arrived, tight).await.unwrap_err();
    assert!(files.arrived(Some(&name("p/a")), 9).await.unwrap().is_empty());
    assert_eq!(bytes_of(&files, "p/a").await, b"ten bytes!", "what stands stays");
}

#[tokio::test]
async fn what_is_not_wanted_any_more_once_it_was_copied_gets_no_name() {
    let store = Arc::new(InMemory::new());
    let files = open(&store);
    arrive(&store, &files, &upload("p/a", 1), b"hello").await;
    let arrived = only(&files, "p/a").await;
    let unknown = files.take_in(&arrived, 11, FREE, &Unknown).await.unwrap_err();
    assert!(matches!(unknown, FileError::Unasked(_)), "{unknown:?}");
    assert_eq!(objects(&store).await.len(), 1, "the upload is there, and no copy");
    assert_eq!(files.take_in(&arrived, 12, FREE, &Always(false)).await.unwrap(), None);
    assert_eq!(objects(&store).await, Vec::<String>::new());
}

#[tokio::test]
async fn who_is_cut_off_while_he_looks_through_a_copy_leaves_none() {
    use object_store::throttle::{ThrottleConfig, ThrottledStore};
    let store = Arc::new(InMemory::new());
    arrive(&store, &open(&store), &upload("p/a", 1), b"hello").await;
    let arrived = only(&open(&store), "p/a").await;
    let slow = Arc::new(ThrottledStore::new(Arc::clone(&store), ThrottleConfig::default()));
    let place = Place::Bucket { bucket: "b".to_owned(), prefix: String::new() };
    let objects_of = Objects { store: Arc::clone(&slow) as Arc<dyn ObjectStore>, place };
    let files = ObjectFiles::addressed(objects_of, Arc::new(Signer), 10);
    slow.config_mut(|config| config.wait_get_per_byte = Duration::from_secs(60));
    let always = Always(true);
    let taken = files.take_in(&arrived, 11, FREE, &always);
    assert!(tokio::time::timeout(Duration::from_millis(50), taken).await.is_err());
    for _ in 0..1_000 {
        if objects(&store).await.len() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(objects(&store).await[0].starts_with("uploads/p/a~/"));
}

#[tokio::test]
async fn a_file_that_is_put_says_what_it_takes_the_place_of_and_loses_nothing_if_it_fails() {
    let store = Arc::new(InMemory::new());
    let files = open(&store);
    arrive(&store, &files, &upload("p/a", 1), b"arrived").await;
    // It goes wrong when its name is written: what had arrived is there.
    let (near, at) = (Arc::clone(&store), Path::parse("names/p/a~").unwrap());
    let spoilt = futures::stream::once(async move {
        near.put(&at, Bytes::from_static(b"no document").into()).await.unwrap();
        Ok(Bytes::from_static(b"new"))
    });
    files.put(put_of("p/a", 5), spoilt.boxed()).await.unwrap_err();
    store.delete(&Path::parse("names/p/a~").unwrap()).await.unwrap();
    let arrived = only(&files, "p/a").await;
    // Or the process dies once its name stands, and what had arrived is there still.
    let dead = Arc::new(store.fork());
    files.put(put_of("p/a", 6), stream(vec![Ok(b"new")])).await.unwrap();
    assert!(files.arrived(Some(&name("p/a")), 9).await.unwrap().is_empty());
    let found: Vec<_> = store.list(None).try_collect().await.unwrap();
    for object in found {
        let bytes = store.get(&object.location).await.unwrap().bytes().await.unwrap();
        dead.put(&object.location, bytes.into()).await.unwrap();
    }
    let files = open(&dead);
    assert_eq!(only(&files, "p/a").await, arrived);
    assert_eq!(files.take_in(&arrived, 11, FREE, &Always(true)).await.unwrap(), None);
    assert_eq!(bytes_of(&files, "p/a").await, b"new");
    assert!(files.arrived(Some(&name("p/a")), 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn one_damaged_document_stops_nobody_who_goes_through_many() {
    let store = Arc::new(InMemory::new());
    let files = open(&store);
    for (number, path) in (1..).zip(["p/a", "p/b", "q/a"]) {
        files.put(put_of(path, number), stream(vec![Ok(b"x")])).await.unwrap();
    }
    for at in ["names/p/a~", "names/q/a~x/z", "names/p/z~"] {
        lay(&store, at, b"no document").await;
    }
    lay(&store, "bytes/p/gone~/ff", b"y").await;
    lay(&store, "bytes/q/gone~/ff", b"y").await;
    let p = "p".parse().unwrap();
    let paths = |page: baton_files::FilePage| -> Vec<String> {
        page.items.into_iter().map(|file| file.name.to_string()).collect()
    };
    assert_eq!(paths(files.list(&p, "", None, 9).await.unwrap()), ["p/b"]);
    let (old, next) = files.older(Timestamp::MAX, None, 1).await.unwrap();
    assert_eq!((old.len(), next.as_ref().map(ToString::to_string).as_deref()), (0, Some("p/a")));
    assert_eq!(files.older(Timestamp::MAX, next, 1).await.unwrap().0[0].name.to_string(), "p/b");
    assert_eq!(files.sweep_nameless(Timestamp::MAX).await.unwrap(), 1, "of the project that is whole");
    let walked = files.walk(Timestamp::MAX, None, 9).await.unwrap();
    let seen: Vec<String> = walked.old.iter().map(|file| file.name.to_string()).collect();
    assert_eq!((seen.join(" ").as_str(), walked.nameless), ("p/b q/a", 1));
    assert!(objects(&store).await.iter().any(|at| at.starts_with("bytes/p/a~/")), "its bytes stay");
}

#[tokio::test]
async fn a_page_of_a_list_reads_what_it_shows() {
    let store = Arc::new(InMemory::new());
    let files = open(&store);
    for (number, path) in (1..).zip(["p/a", "p/a/b", "p/c", "p/d"]) {
        files.put(put_of(path, number), stream(vec![Ok(b"x")])).await.unwrap();
    }
    let p = "p".parse().unwrap();
    let first = files.list(&p, "", None, 2).await.unwrap();
    let paths = |page: &baton_files::FilePage| -> Vec<String> {
        page.items.iter().map(|file| file.name.path().to_owned()).collect()
    };
    assert_eq!((paths(&first), first.next.as_deref()), (vec!["a".to_owned(), "a/b".to_owned()], Some("a/b")));
    let second = files.list(&p, "", Some("a/b"), 2).await.unwrap();
    assert_eq!((paths(&second), second.next), (vec!["c".to_owned(), "d".to_owned()], None));
}

#[tokio::test]
async fn one_round_is_under_way_at_a_time() {
    let store = Arc::new(InMemory::new());
    let (one, two) = (open(&store), open(&store));
    let second = |n: i64| Timestamp::from_millis(1_800_000_000_000 + n * 1_000);
    let (first, both) =
        tokio::join!(one.begin_round(second(0), second(900)), two.begin_round(second(0), second(900)));
    assert!(first.unwrap() != both.unwrap(), "one of both");
    assert!(!two.begin_round(second(1), second(901)).await.unwrap());
    two.end_round(second(901)).await.unwrap();
    assert!(!two.begin_round(second(2), second(902)).await.unwrap(), "that was not its round");
    one.end_round(second(900)).await.unwrap();
    assert!(two.begin_round(second(3), second(903)).await.unwrap());
    assert!(one.begin_round(second(903), second(1803)).await.unwrap(), "the other was cut off");
    assert!(two.begin_round(second(-9_000), second(-8_100)).await.unwrap(), "the time was set back");
}
