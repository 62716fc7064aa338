//! Lists: which entries fit, and their pages.

use baton_model::Timestamp;

use crate::{Cursor, Page, PageRequest, StoreError};

/// One page of `items`, which are sorted by their keys: upwards, or downwards if `newest_first`.
pub(super) fn page<T>(
    kind: &str,
    mut items: Vec<(String, T)>,
    newest_first: bool,
    page: &PageRequest,
) -> Result<Page<T>, StoreError> {
    items.sort_by(|(a, _), (b, _)| if newest_first { b.cmp(a) } else { a.cmp(b) });
    if let Some(cursor) = &page.after {
        let after = cursor.0.strip_prefix(kind).ok_or(StoreError::BadCursor)?;
        items.retain(|(key, _)| if newest_first { key.as_str() < after } else { key.as_str() > after });
    }
    let more = items.len() > page.limit as usize;
    items.truncate(page.limit as usize);
    let next = items.last().filter(|_| more).map(|(key, _)| Cursor(format!("{kind}{key}")));
    Ok(Page { items: items.into_iter().map(|(_, item)| item).collect(), next })
}

pub(super) fn sortable(at: Timestamp, tail: impl std::fmt::Display) -> String {
    format!("{:016}/{tail}", at.as_millis())
}

pub(super) fn fits<T: PartialEq>(wanted: &Option<T>, value: Option<&T>) -> bool {
    wanted.as_ref().is_none_or(|wanted| value == Some(wanted))
}

pub(super) fn within(at: Timestamp, from: Option<Timestamp>, before: Option<Timestamp>) -> bool {
    from.is_none_or(|from| at >= from) && before.is_none_or(|before| at < before)
}
