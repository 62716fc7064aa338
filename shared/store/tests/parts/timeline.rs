use baton_model::{Happened, TimelineEntry, Timestamp};
use baton_store::{Cursor, Fetched, Merge, PageRequest, StoreError};

fn entry(at: i64) -> TimelineEntry {
    let happened = Happened::ServerStarted { version: at.to_string() };
    TimelineEntry::of_happening(Timestamp::from_millis(at), happened)
}

/// A source of entries of these times, of which each fetch gives some.
fn fetch(times: &[i64], from: Option<&str>, chunk: usize) -> Fetched {
    let from: usize = from.map_or(0, |place| place.parse().unwrap());
    let to = times.len().min(from + chunk);
    let entries = (from..to).map(|place| (entry(times[place]), (place + 1).to_string())).collect();
    Fetched { entries, end: (to < times.len()).then(|| to.to_string()), looks: to - from }
}

#[test]
fn pages_of_any_size_tell_each_entry_once_and_in_order() {
    let sources: [(char, &[i64]); 3] =
        [('a', &[90, 70, 70, 10]), ('b', &[95, 80, 60, 60, 50, 5]), ('c', &[])];
    let mut all: Vec<i64> = sources.iter().flat_map(|(_, times)| times.iter().copied()).collect();
    all.sort_unstable_by(|one, other| other.cmp(one));
    for limit in 1..12 {
        for chunk in 1..6 {
            let (mut told, mut after, mut pages) = (Vec::new(), None, 0);
            loop {
                let page = PageRequest { after, ..PageRequest::first(limit) };
                let mut merge = Merge::new(&['a', 'b', 'c'], &page).unwrap();
                while let Some((letter, place)) = merge.wants() {
                    let (_, times) = sources.iter().find(|(one, _)| *one == letter).unwrap();
                    merge.give(letter, fetch(times, place.as_deref(), chunk));
                }
                let page = merge.finish();
                told.extend(page.items.iter().map(|entry| entry.at.as_millis()));
                pages += 1;
                match page.next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
            assert_eq!(told, all, "pages of {limit}, fetched by {chunk}");
            assert!(pages <= all.len() + 1);
        }
    }
}

#[test]
fn a_cursor_of_another_query_is_refused() {
    let page = PageRequest { after: Some(Cursor("z1:5".to_owned())), ..PageRequest::first(5) };
    assert!(matches!(Merge::new(&['a', 'b'], &page), Err(StoreError::BadCursor)));
}
