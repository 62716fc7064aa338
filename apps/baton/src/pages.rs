//! Lists that are longer than a page.

use baton_api::task::Page;
use baton_model::limits;

/// How many entries are asked for of a list that is wanted whole.
pub(crate) const ALL: usize = usize::MAX;

/// The first `limit` entries of a list, over as many pages as it takes, and whether there are more. `ask` gives the page behind
/// a cursor, of at most so many entries.
pub(crate) async fn first<T, E>(
    limit: usize,
    mut ask: impl AsyncFnMut(Option<String>, u32) -> Result<Page<T>, E>,
) -> Result<(Vec<T>, bool), E> {
    let (mut entries, mut cursor) = (Vec::new(), None);
    while entries.len() < limit {
        let most = u32::try_from(limit - entries.len()).map_or(limits::PAGE, |left| left.min(limits::PAGE));
        let page = ask(cursor, most).await?;
        entries.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    Ok((entries, cursor.is_some()))
}

/// The first `limit` entries of a list that has the newest first, the newest last.
pub(crate) async fn newest<T, E>(
    limit: usize,
    ask: impl AsyncFnMut(Option<String>, u32) -> Result<Page<T>, E>,
) -> Result<Vec<T>, E> {
    let (mut entries, _) = first(limit, ask).await?;
    entries.reverse();
    Ok(entries)
}
