//! The server as its callers meet it: through all layers, over a real store.

mod create;
mod documents;
mod malformed;
mod operations;
mod queries;
mod requests;
mod sockets;
mod waiting;
mod workers;
mod world;
