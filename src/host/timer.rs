//! Waiting for a moment that there may not be.

use tokio::time::Instant;

/// Until `at`; without one, for ever. Cancel safe.
pub(crate) async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
