//! The platform's clients over real sockets: what they send, and what they read of the answers. Every case runs over SQLite and over
//! DynamoDB.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::duplicate_mod,
    reason = "a test ends where it is surprised; and the cases are the same over each store"
)]

macro_rules! suite {
    ($name:ident, $kept:ident) => {
        #[path = "."]
        mod $name {
            mod access;
            mod claims;
            mod completions;
            mod counts;
            mod creates;
            mod heartbeats;
            mod kept;
            mod orchestrators;
            mod reads;
            mod statuses;
            mod storage;
            mod tables;
            mod world;

            /// Where the tasks are.
            const KEPT: baton_tests::site::Kept = baton_tests::site::Kept::$kept;
        }
    };
}

suite!(on_sqlite, InFile);
suite!(on_dynamodb, InTable);
