//! Many connections at once, of those who may and of those who may not: who
//! gets in, who is sent away, and that nothing else of the server notices.

mod descriptors;
mod http;
mod strangers;
