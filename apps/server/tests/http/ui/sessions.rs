//! Signing in and out: cookies, and how long a session lasts.

use super::*;

#[tokio::test]
async fn a_page_is_shown_to_those_who_have_signed_in_alone() {
    let world = guarded();
    let mut browser = Browser::new(&world);
    assert_eq!(location(&browser.get("/ui").await), "/ui/sign-in?next=%2Fui");
    let answer = browser.get("/ui/tasks?status=failed").await;
    assert_eq!(location(&answer), "/ui/sign-in?next=%2Fui%2Ftasks%3Fstatus%3Dfailed");
    let answer = browser.sign_in("baton_no_such_token_at_all").await;
    assert_eq!(answer.status, 401);
    assert!(answer.text().contains("role=\"alert\"") && !answer.headers.contains_key(SET_COOKIE));
    let (_, secret) = world.token(json!({"name": "ada"})).await;
    let answer = browser
        .post("/ui/sign-in", "/ui/sign-in", &[("token", &secret.reveal()), ("next", "/ui/queues")])
        .await;
    assert_eq!(location(&answer), "/ui/queues");
    browser.sign_in(&secret.reveal()).await;
    let page = browser.get("/ui").await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("<bdi>ada</bdi>"));
    assert!(!page.text().contains(&secret.reveal()), "a page shows a token");
}

#[tokio::test]
async fn the_cookie_is_bound_to_the_pages_and_holds_no_token() {
    let world = guarded();
    let (_, secret) = world.token(json!({})).await;
    let answer = Browser::new(&world).sign_in(&secret.reveal()).await;
    let cookie = answer.headers[SET_COOKIE].to_str().unwrap();
    let mut parts = cookie.split("; ");
    let (name, id) = parts.next().unwrap().split_once('=').unwrap();
    assert!(
        name == "baton_ui" && id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{cookie}"
    );
    let mut attributes: Vec<_> = parts.collect();
    attributes.sort_unstable();
    assert_eq!(attributes, ["HttpOnly", "Path=/ui", "SameSite=Strict", "Secure"]);
    // Neither is the cookie a token for the API.
    let request = Request::get("/v1/tasks").header(COOKIE, format!("{name}={id}"));
    world.send(request.body(Body::empty()).unwrap()).await.problem(401, "unauthorized");
}

#[tokio::test]
async fn a_session_ends_with_its_token_by_signing_out_and_when_nobody_comes() {
    let world = guarded();
    let (id, secret) = world.token(json!({})).await;
    let mut browser = Browser::new(&world);
    browser.sign_in(&secret.reveal()).await;
    assert_eq!(browser.get("/ui").await.status, 200);
    world.app.store.revoke_token(id, world.app.now()).await.unwrap();
    assert!(location(&browser.get("/ui").await).starts_with("/ui/sign-in"));

    let browser = Browser::signed_in(&world, json!({})).await;
    let answer = browser.post("/ui", "/ui/sign-out", &[]).await;
    assert_eq!(location(&answer), "/ui/sign-in");
    assert!(answer.headers[SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    assert!(location(&browser.get("/ui").await).starts_with("/ui/sign-in"));

    let browser = Browser::signed_in(&world, json!({})).await;
    for _ in 0..3 {
        world.advance(Duration::from_secs(7 * 3_600));
        assert_eq!(browser.get("/ui").await.status, 200);
    }
    world.advance(Duration::from_secs(8 * 3_600 + 1));
    assert!(location(&browser.get("/ui").await).starts_with("/ui/sign-in"));
}

#[tokio::test]
async fn sessions_are_bounded_and_the_idlest_of_a_token_ends_first() {
    let world = guarded();
    let (_, secret) = world.token(json!({})).await;
    let other = Browser::signed_in(&world, json!({})).await;
    let mut browsers = Vec::new();
    for _ in 0..21 {
        let mut browser = Browser::new(&world);
        browser.sign_in(&secret.reveal()).await;
        world.advance(Duration::from_secs(1));
        browsers.push(browser);
    }
    assert_eq!(browsers[0].get("/ui").await.status, 303);
    assert_eq!(browsers[1].get("/ui").await.status, 200);
    assert_eq!(other.get("/ui").await.status, 200, "one token has ended the session of another one");
}
