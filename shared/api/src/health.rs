//! What a server answers of itself: whether it is there, and what its store can do.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A server's answer to "are you there?".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Health)]
pub struct HealthView {
    /// `ok`.
    pub status: String,
    /// The server's version.
    pub version: String,
}

/// A server's answer to "can you work?".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Readiness)]
pub struct ReadinessView {
    /// `ok`.
    pub status: String,
    /// The server's version.
    pub version: String,
    /// What the task store can do.
    pub store: StoreView,
    /// With `?verbose`, of a server: how many queues have work that no live worker takes. It is ready all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues_untaken: Option<u64>,
}

/// What a task store can do, and how large it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Store)]
pub struct StoreView {
    /// Whether what is stored can be read.
    pub read: AbilityView,
    /// Whether something can be changed.
    pub write: AbilityView,
    /// How many more bytes can be stored: as many as its file may still grow by, or as its disk has free, whichever is less.
    /// Absent if there is no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room_bytes: Option<u64>,
    /// The bytes of its file, those that are free in it included, without its log; absent if it has no file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<u64>,
    /// Of these, the bytes that hold nothing any more and are used again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// The bytes of the write-ahead log beside the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_bytes: Option<u64>,
    /// How many tasks there are, in whatever state; absent if that is not counted here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u64>,
}

/// Whether something can be done, and what is in its way if not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Ability)]
pub struct AbilityView {
    /// `ok`, `untried`, `full`, `unavailable`, `damaged`, `gone`, or `failed` for all else.
    pub status: String,
    /// What is in the way, and what to do about it, or why it is not tried; absent if it is `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
