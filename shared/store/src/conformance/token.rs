//! Callers' tokens: kept as made, ended at once, and never more than there is room for.

use std::collections::BTreeSet;

use baton_model::{Grant, Scope, Token, TokenSecret, TokenStatus};

use super::kit::*;
use crate::faulty::{Fault, Faulty};
use crate::{Cursor, ErrorKind, PageRequest, Purge, StoreError, StoredToken, TokenStore};

/// A new token that reaches everything, with its digest.
pub(super) fn token(b: &Bench, text: &str) -> StoredToken {
    let id = b.token_id();
    let token = Token {
        id,
        name: name(text),
        grant: Grant { scopes: [Scope::Worker].into(), queues: [].into(), project: None },
        requests_per_second: None,
        created_at: at(0),
        created_by: None,
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
    };
    StoredToken { token, digest: TokenSecret::new(id, [7; TokenSecret::BYTES]).digest() }
}

/// Makes a new token.
pub(super) async fn made(b: &Bench, text: &str) -> StoredToken {
    let token = token(b, text);
    b.store().create_token(token.clone()).await.unwrap();
    token
}

/// A token is kept as it was made, with its digest: one with every field set, and one with none.
pub async fn a_token_is_kept_as_made(b: Bench) {
    let bare = made(&b, "bare").await;
    let mut full = token(&b, "Büro ☂ 7");
    full.token.grant = Grant {
        scopes: [Scope::Producer, Scope::Worker].into(),
        queues: [name("gpu"), name("cpu")].into(),
        project: Some(name("film")),
    };
    full.token.requests_per_second = Some(250);
    full.token.created_by = Some(name("the first operator"));
    full.token.expires_at = Some(at(1_000));
    b.store().create_token(full.clone()).await.unwrap();
    for made in [bare, full] {
        assert_eq!(b.store().token(made.token.id).await.unwrap(), Some(made));
    }
}

/// The same creation sent again changes nothing, also when the token was used or revoked since.
pub async fn the_same_creation_of_a_token_again_changes_nothing(b: Bench) {
    let token = made(&b, "farm").await;
    let id = token.token.id;
    b.store().create_token(token.clone()).await.unwrap();
    b.store().token_used(id, at(2)).await.unwrap();
    b.store().revoke_token(id, at(3)).await.unwrap();
    b.store().create_token(token).await.unwrap();
    let kept = b.store().token(id).await.unwrap().unwrap().token;
    assert_eq!((kept.last_used_at, kept.revoked_at), (Some(at(2)), Some(at(3))));
    assert_eq!(b.tokens().await, [kept]);
}

/// A secret that was imported is found by what it is, among others, and by nothing else; a second import of it changes nothing, and
/// it is listed, revoked and found again as any.
pub async fn an_imported_secret_is_found_by_itself(b: Bench) {
    made(&b, "farm").await;
    let (key, other) = ("an-old-key.of-another.system", "an-old-key.of-another.systen");
    let secret = TokenSecret::imported(key).unwrap();
    let made = token(&b, "old key");
    let imported = StoredToken { token: Token { id: secret.id(), ..made.token }, digest: secret.digest() };
    b.store().create_token(imported.clone()).await.unwrap();
    let mut again = imported.clone();
    again.token.grant.scopes = [Scope::Operator].into();
    b.store().create_token(again).await.unwrap();
    let presented = |text: &str| TokenSecret::presented(text).unwrap();
    assert_eq!(b.store().token(presented(key).id()).await.unwrap(), Some(imported));
    assert!(b.store().token(presented(other).id()).await.unwrap().is_none());
    assert_eq!(b.tokens().await.len(), 2);
    b.store().revoke_token(secret.id(), at(3)).await.unwrap();
    let kept = b.store().token(secret.id()).await.unwrap().unwrap();
    assert_eq!((kept.token.revoked_at, kept.digest), (Some(at(3)), secret.digest()));
}

/// A token that was never made is none.
pub async fn an_unknown_token_is_none(b: Bench) {
    made(&b, "farm").await;
    assert_eq!(b.store().token(b.token_id()).await.unwrap(), None);
}

/// Tokens are listed the newest first, by pages, whether they are still good or not.
pub async fn tokens_are_listed_the_newest_first(b: Bench) {
    assert_eq!(b.tokens().await, []);
    let mut ids = Vec::new();
    for n in 0..7 {
        ids.push(made(&b, &format!("token {n}")).await.token.id);
    }
    b.store().revoke_token(ids[3], at(1)).await.unwrap();
    ids.reverse();
    let listed = b.tokens().await;
    assert_eq!(listed.iter().map(|token| token.id).collect::<Vec<_>>(), ids);
    assert_eq!(listed[3].revoked_at, Some(at(1)));
    assert_eq!(listed[6].name, name("token 0"));
    let all = b.store().tokens(PageRequest::first(7)).await.unwrap();
    assert_eq!((all.items.len(), all.next), (7, None), "a page that holds all names no next one");
}

/// A cursor that is none is refused.
pub async fn a_bad_token_cursor_is_refused(b: Bench) {
    made(&b, "farm").await;
    for text in ["not a cursor", "☂", "{\"a\":", "../../etc/passwd"] {
        let page = PageRequest { after: Some(Cursor(text.to_owned())), limit: 2, in_parts: false };
        assert_err!(b.store().tokens(page).await, StoreError::BadCursor);
    }
}

/// A revoked token is revoked from the answer on, and keeps the time of its first revocation.
pub async fn a_token_is_revoked_once_and_at_once(b: Bench) {
    let (token, other) = (made(&b, "farm").await, made(&b, "other").await);
    let id = token.token.id;
    let revoked = b.store().revoke_token(id, at(5)).await.unwrap();
    assert_eq!(revoked, Token { revoked_at: Some(at(5)), ..token.token.clone() });
    assert_eq!(revoked.status(at(5)), TokenStatus::Revoked);
    let kept = b.store().token(id).await.unwrap().unwrap();
    assert_eq!(kept, StoredToken { token: revoked.clone(), ..token });
    assert_eq!(b.store().revoke_token(id, at(9)).await.unwrap(), revoked);
    assert_eq!(b.store().token(other.token.id).await.unwrap(), Some(other));
}

/// A token that was never made cannot be revoked.
pub async fn an_unknown_token_cannot_be_revoked(b: Bench) {
    let id = b.token_id();
    assert_err!(b.store().revoke_token(id, at(1)).await, StoreError::TokenNotFound(unknown) if unknown == id);
    assert_eq!(b.tokens().await, []);
}

/// The time of the last use goes forward only, but back from a time that only a wrong clock can have told.
pub async fn the_last_use_of_a_token_goes_forward_only(b: Bench) {
    let token = made(&b, "farm").await;
    let far = 10 * 365 * 86_400;
    for (used, noted) in
        [(60, 60), (30, 60), (60, 60), (61, 61), (3_661, 3_661), (61, 3_661), (far, far), (62, 62)]
    {
        b.store().token_used(token.token.id, at(used)).await.unwrap();
        let kept = b.store().token(token.token.id).await.unwrap().unwrap();
        let noted = Token { last_used_at: Some(at(noted)), ..token.token.clone() };
        assert_eq!(kept, StoredToken { token: noted, ..token.clone() });
    }
}

/// The use of a token that was never made is not noted.
pub async fn the_use_of_an_unknown_token_is_ignored(b: Bench) {
    let id = b.token_id();
    b.store().token_used(id, at(1)).await.unwrap();
    assert_eq!(b.store().token(id).await.unwrap(), None);
    assert_eq!(b.tokens().await, []);
}

/// There is room for so many tokens and no more, also when they are made at once; removing one that has ended makes
/// room.
pub async fn one_token_too_many_is_refused(b: Bench) {
    let most = b.store().capabilities().tokens;
    let first = made(&b, "first").await;
    let creations = (0..most + 3).map(|n| {
        let (store, token) = (b.store(), token(&b, &format!("token {n}")));
        async move { store.create_token(token).await }
    });
    let mut refused = 0;
    for outcome in at_once(creations).await {
        if outcome.is_err() {
            assert_err!(outcome, StoreError::TooManyTokens { most: told } if told == most);
            refused += 1;
        }
    }
    assert_eq!(refused, 4);
    assert_eq!(b.tokens().await.len(), most);

    b.store().create_token(first.clone()).await.expect("it is there already");
    b.store().revoke_token(first.token.id, at(1)).await.unwrap();
    let late = token(&b, "late");
    assert_err!(b.store().create_token(late.clone()).await, StoreError::TooManyTokens { .. });
    let purge = Purge { keep_tokens: secs(1), ..Purge::at(at(10)) };
    assert_eq!(b.purge(purge).await.tokens, 1);
    b.store().create_token(late).await.expect("there is room again");
    assert_err!(b.store().create_token(token(&b, "later")).await, StoreError::TooManyTokens { .. });
}

/// A read that overlaps a revocation sees the token before or after it; one that follows it sees it revoked.
pub async fn a_revocation_holds_for_every_read_after_it(b: Bench) {
    for turn in 0..20 {
        let token = made(&b, "farm").await.token;
        let id = token.id;
        let (reading, revoking) = (b.store(), b.store());
        let read = async move { reading.token(id).await.unwrap().unwrap().token.revoked_at };
        let revoke = async move {
            let answer = revoking.revoke_token(id, at(5)).await.unwrap();
            (answer.revoked_at, revoking.token(id).await.unwrap().unwrap().token.revoked_at)
        };
        let (seen, (answered, after)) = race(turn, read, revoke).await;
        assert!(seen.is_none() || seen == Some(at(5)));
        assert_eq!((answered, after), (Some(at(5)), Some(at(5))));
        b.purge(Purge { keep_tokens: secs(1), ..Purge::at(at(10)) }).await;
    }
}

/// Of several revocations at once one counts, and all answer with its time.
pub async fn revocations_at_once_agree_on_the_time(b: Bench) {
    let id = made(&b, "farm").await.token.id;
    let revocations = (1..=8).map(|n| {
        let store = b.store();
        async move { store.revoke_token(id, at(n)).await.unwrap().revoked_at }
    });
    let times = at_once(revocations).await;
    let kept = b.store().token(id).await.unwrap().unwrap().token.revoked_at;
    assert!(kept.is_some());
    assert_eq!(times, [kept; 8]);
}

/// A noted use and a revocation at the same time both stand.
pub async fn a_use_races_a_revocation(b: Bench) {
    for turn in 0..20 {
        let id = made(&b, "farm").await.token.id;
        let (using, revoking) = (b.store(), b.store());
        let used = async move { using.token_used(id, at(4)).await.unwrap() };
        let revoked = async move { revoking.revoke_token(id, at(5)).await.unwrap() };
        race(turn, used, revoked).await;
        let kept = b.store().token(id).await.unwrap().unwrap().token;
        assert_eq!((kept.last_used_at, kept.revoked_at), (Some(at(4)), Some(at(5))));
        b.purge(Purge { keep_tokens: secs(1), ..Purge::at(at(10)) }).await;
    }
}

/// Over a store that fails, a token is revoked once its revocation was answered, or its answer lost, and stays so, with
/// the time of the first; before that it is good.
pub async fn a_revocation_holds_over_a_store_that_fails(b: Bench) {
    let mut met = BTreeSet::new();
    for seed in 0..16 {
        let kept = made(&b, "farm").await;
        let id = kept.token.id;
        let faulty = Faulty::new(b.store(), seed, 2);
        let mut since = None;
        for second in 1.. {
            let answer = faulty.revoke_token(id, at(second)).await;
            match answer.as_ref().map_err(StoreError::kind) {
                Err(ErrorKind::Unavailable) => {}
                Ok(_) | Err(ErrorKind::Unknown) => since = since.or(Some(at(second))),
                Err(_) => panic!("{answer:?}"),
            }
            let stands = b.store().token(id).await.unwrap().unwrap().token;
            assert_eq!(stands.revoked_at, since, "seed {seed}: {answer:?}");
            if let Ok(revoked) = answer {
                assert_eq!(revoked, stands);
                break;
            }
        }
        // Whatever is sent again, and however late.
        for turn in 100..110 {
            // A failure to do either is no matter here.
            drop((faulty.create_token(kept.clone()).await, faulty.token_used(id, at(turn)).await));
            match faulty.token(id).await {
                Ok(stored) => {
                    let token = stored.expect("it is there").token;
                    assert_eq!((token.status(at(turn)), token.revoked_at), (TokenStatus::Revoked, since));
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable),
            }
            if let Ok(listed) = faulty.tokens(PageRequest::first(1)).await {
                assert_eq!((listed.items[0].id, listed.items[0].revoked_at), (id, since));
            }
        }
        met.extend(faulty.met());
    }
    for fault in [Fault::Unavailable, Fault::Unknown, Fault::Twice, Fault::Delay] {
        assert!(met.contains(&("revoke_token", fault)), "{fault:?} is tried: {met:?}");
    }
}
