//! Files as they are told.

use baton_model::{ProjectId, TaskId, Timestamp};
use serde::{Deserialize, Serialize};

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileView {
    /// Its project.
    pub project: ProjectId,
    /// Its path in the project.
    pub path: String,
    /// How many bytes it has.
    pub size: u64,
    /// The SHA-256 of its bytes.
    pub sha256: String,
    /// What it is, by its own first bytes.
    pub content_type: String,
    /// When it was whole.
    pub created_at: Timestamp,
    /// The task that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
}

/// A page of files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FilesView {
    /// The files by name.
    pub items: Vec<FileView>,
    /// Where the next page begins; none at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// An address that was signed for one file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileLinkView {
    /// Its path and query; the server's address goes before it.
    pub url: String,
    /// What it allows: `GET` or `PUT`.
    pub method: String,
    /// Until when it holds.
    pub expires_at: Timestamp,
}
