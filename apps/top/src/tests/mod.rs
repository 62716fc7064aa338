//! The state, the keys and the frames, without a terminal and without a server.

mod documents;
mod frames;
mod hostile;
mod keys;
mod requests;
mod screen;
mod world;
