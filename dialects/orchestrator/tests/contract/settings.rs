//! Providers and preferences.

use serde_json::json;

use crate::{show, site, submit, task};

#[tokio::test]
async fn preferences_are_read_merged_and_stored_as_the_helper_does() {
    let site = site(&[]).await;
    let mut preferences = site.get("/api/preferences").await.json();
    assert_eq!(
        preferences,
        json!({
            "user_id": "default", "preferred_provider": null, "preferred_model": null,
            "full_access_preferred": false, "role_preferences": {},
        })
    );
    for (provider, model) in [("claude", "opus"), ("codex", "large")] {
        preferences.as_object_mut().unwrap().remove("user_id");
        preferences["preferred_provider"] = json!(provider);
        preferences["preferred_model"] = json!(model);
        preferences["role_preferences"] =
            json!({"data": {"provider": "gemini", "model": "pro"}, "ml": "claude"});
        assert_eq!(site.post("/api/preferences", &preferences).await.status, 200);
        preferences = site.get("/api/preferences").await.json();
        assert_eq!(
            (&preferences["user_id"], &preferences["preferred_provider"]),
            (&json!("default"), &json!(provider))
        );
    }
    // Another user's are their own.
    let theirs = json!({"user_id": "ann", "full_access_preferred": true});
    assert_eq!(site.post("/api/preferences", &theirs).await.status, 200);
    assert_eq!(site.get("/api/preferences?user_id=ann").await.json()["full_access_preferred"], true);
    assert_eq!(site.get("/api/preferences").await.json(), preferences);
    let answer = site.post("/api/preferences", &json!({"role_preferences": "x"})).await;
    assert_eq!(answer.status, 422, "{answer:?}");

    let site = site.restarted().await;
    assert_eq!(site.get("/api/preferences").await.json(), preferences);
    // They choose for tasks that do not.
    for (id, role, provider, model) in [
        ("a", "backend", "codex", json!("large")),
        ("b", "data", "gemini", json!("pro")),
        ("c", "ml", "claude", json!(null)),
    ] {
        let mut asked = task(id);
        asked["role"] = json!(role);
        let told = submit(&site, &asked).await.json();
        assert_eq!(
            (&told["selected_provider"], &told["selected_model"]),
            (&json!(provider), &model),
            "{role}"
        );
        assert_eq!(show(&site, id).await["provider"], provider);
    }
    let mut asked = task("d");
    asked["provider_override"] = json!("own");
    asked["role"] = json!("data");
    let told = submit(&site, &asked).await.json();
    assert_eq!((&told["selected_provider"], &told["selected_model"]), (&json!("own"), &json!(null)));
    // A setting is never given out.
    assert!(site.claim("autodev-records").await.is_none());
}

#[tokio::test]
async fn providers_have_all_their_fields_and_are_stored() {
    let site = site(&[]).await;
    let fields = [
        "name",
        "display_name",
        "mode",
        "provider_type",
        "model",
        "available_models",
        "description",
        "available",
        "capabilities",
        "status_details",
    ];
    let first = site.get("/api/providers").await.json();
    assert_eq!(first[0]["available"], false, "no worker is there");
    let providers = json!([
        {"name": "claude", "mode": "cli", "available": false},
        {"name": "codex", "display_name": "Codex", "mode": "api", "model": "large", "available_models": ["large"],
         "capabilities": ["code"]},
    ]);
    assert_eq!(site.post("/api/providers", &providers).await.status, 200);
    let site = site.restarted().await;
    let told = site.get("/api/providers").await.json();
    for provider in [&first[0], &told[0], &told[1]] {
        for field in fields {
            assert!(provider.get(field).is_some(), "{field}: {provider}");
        }
    }
    assert_eq!((&told[0]["display_name"], &told[1]["display_name"]), (&json!("claude"), &json!("Codex")));
    let chosen = submit(&site, &task("a")).await.json();
    assert_eq!((&chosen["selected_provider"], &chosen["selected_model"]), (&json!("codex"), &json!("large")));
    assert_eq!(site.post("/api/providers", &json!([{"mode": "cli"}])).await.status, 422);
}

#[tokio::test]
async fn what_is_submitted_again_is_answered_as_the_first_time_though_preferences_have_changed() {
    let site = site(&[]).await;
    let prefer = async |provider: &str, model: &str| {
        let preferences = json!({"preferred_provider": provider, "preferred_model": model});
        assert_eq!(site.post("/api/preferences", &preferences).await.status, 200);
    };
    prefer("claude", "opus").await;
    let first = submit(&site, &task("a")).await.json();
    prefer("codex", "large").await;
    assert_eq!(submit(&site, &task("a")).await.json(), first);
    for (field, value) in [("description", "else"), ("model", "large"), ("provider_override", "codex")] {
        let mut other = task("a");
        other[field] = json!(value);
        assert_eq!(site.post("/tasks", &other).await.status, 409, "{field}");
    }
}
