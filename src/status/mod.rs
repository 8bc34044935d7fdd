//! What `/api`, `/metrics` and the commands say, as data and as text.
//!
//! * [`board`]: what is known now, for status, health and metrics.
//! * [`report`]: what `/api/status` answers, for the server and the commands.
//! * [`dump`]: a zone as a view is answered it.
//! * [`explain`]: what a client is answered for a name, and why.
//! * [`metrics`]: what is known as numbers, for Prometheus.
//! * [`reloaded`]: what a reload has come to, for whoever asked for it.
//! * [`wish`]: whether a name is answered with what `refresh --wait-for` waits for.

pub(crate) mod board;
pub(crate) mod dump;
pub(crate) mod explain;
pub(crate) mod metrics;
mod near;
pub(crate) mod reloaded;
pub(crate) mod report;
pub(crate) mod wish;
