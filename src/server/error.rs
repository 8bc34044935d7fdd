//! Why a server ended that was not told to.

use tokio::task::JoinError;

use crate::forward;
use crate::http::HttpError;
use crate::serve::{BindError, Failure};
use crate::state::OpenError;
use crate::writer::Panicked;

/// Why a server ended that was not told to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// An address cannot be listened at.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The HTTP side cannot be had.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Another process has the state directory.
    #[error(transparent)]
    State(#[from] OpenError),
    /// The HTTP side ended.
    #[error("the HTTP side ended, which it never should ({0}); stopping")]
    HttpEnded(String),
    /// What keeps the state on disk ended.
    #[error("keeping state ended, which it never should ({0:?}); stopping")]
    Keeping(Option<JoinError>),
    /// The event loop or a signal handler cannot be had.
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
    /// A worker or accept loop ended.
    #[error("{} ended, which it never should; stopping", .0.what)]
    Listener(Failure),
    /// What forwards questions ended.
    #[error("forwarding ended, which it never should ({0}); stopping")]
    Forwarding(String),
    /// `[[forward]]` cannot be carried out.
    #[error(transparent)]
    Forward(#[from] forward::ConfigError),
    /// The configuration gives no answers.
    #[error(transparent)]
    Writer(#[from] Panicked),
    /// What tells and asks peers ended.
    #[error("telling peers ended, which it never should ({0}); stopping")]
    Peers(String),
    /// A source's task ended.
    #[error("source {name} ended, which it never should ({why}); stopping")]
    Source {
        /// Its name.
        name: String,
        /// What it said, or that it panicked.
        why: String,
    },
}
