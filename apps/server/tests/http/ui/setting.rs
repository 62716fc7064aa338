//! The page of one setting: what stands in its form, and what it asks before something changes.

use super::*;

#[tokio::test]
async fn a_form_holds_the_value_that_would_be_set_and_not_what_is_shown_of_it() {
    let world = guarded();
    let browser = Browser::signed_in(&world, json!({"name": "ada"})).await;
    let operator = world.with_token(json!({})).await;
    let page = "/ui/settings/log.level";
    let confirm = format!("{page}/confirm");
    // Longer than what a page shows of a line.
    let value = (10..60).fold("info".to_owned(), |value, n| format!("{value},module_{n}=debug"));
    let set = operator.put("/v1/config/log.level", json!({"value": value})).await;
    assert_eq!(set.status, 200, "{}", set.text());
    let whole = format!("value=\"{value}\"");
    let text = browser.get(page).await.text();
    assert!(text.contains(&whole) && text.contains("…</code>"), "{text}");
    let asked = browser.post(page, &confirm, &[("value", &value)]).await.text();
    assert!(asked.contains(&whole) && asked.contains("…</code>"), "{asked}");
    let refused = format!("{value},\u{202E}=louder");
    let told = browser.post(page, &confirm, &[("value", &refused)]).await;
    assert_eq!(told.status, 422);
    assert!(told.text().contains(&format!("value=\"{refused}\"")), "what was typed stays: {}", told.text());
}

#[tokio::test]
async fn who_unsets_a_setting_is_told_what_holds_then() {
    let world = World::with(&[("tokens.required", "always"), ("reaper.interval_seconds", "7")]);
    let browser = Browser::signed_in(&world, json!({"name": "ada"})).await;
    let operator = world.with_token(json!({})).await;
    for (key, value, told) in [
        ("retention.log_hours", "12", "its default, <code>48</code>, holds again"),
        ("reaper.interval_seconds", "9", "which changes nothing of what holds here"),
    ] {
        let set = operator.put(&format!("/v1/config/{key}"), json!({"value": value})).await;
        assert_eq!(set.status, 200, "{}", set.text());
        let page = format!("/ui/settings/{key}");
        let asked = browser.post(&page, &format!("{page}/confirm"), &[("do", "unset")]).await.text();
        assert!(asked.contains(told), "{key}: {asked}");
    }
}
