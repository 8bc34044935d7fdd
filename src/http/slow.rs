//! Slow work for an answer of the API, beside the threads that answer DNS.

use std::future::Future;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::error;

use super::Shared;
use super::guard::{busy, refused, stopping};
use crate::host::background;

/// Does slow work where no answer waits for it: not on the loop that publishes,
/// and with a lower priority than what answers DNS. Else the response to send.
pub(super) async fn slowly<T: Send + 'static>(
    shared: &Shared,
    places: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Response> {
    let place = Arc::clone(places).try_acquire_owned().map_err(|_| busy())?;
    beside(shared, place, work).await
}

/// The same, once there is a place: what it is for was done already.
pub(super) async fn slowly_in_turn<T: Send + 'static>(
    shared: &Shared,
    places: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Response> {
    let place = until_stopped(shared, Arc::clone(places).acquire_owned()).await;
    let place = place.and_then(Result::ok).ok_or_else(stopping)?;
    beside(shared, place, work).await
}

async fn beside<T: Send + 'static>(
    shared: &Shared,
    place: OwnedSemaphorePermit,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Response> {
    let working = background::run(move || {
        let done = work();
        drop(place);
        done
    });
    match until_stopped(shared, working).await {
        Some(Ok(done)) => Ok(done),
        Some(Err(error)) => {
            error!(%error, "a request was lost to a bug");
            Err(refused(StatusCode::INTERNAL_SERVER_ERROR, "this is a bug: see the log"))
        }
        None => Err(stopping()),
    }
}

/// What `work` brings; none once the server is told to stop.
pub(super) async fn until_stopped<T>(shared: &Shared, work: impl Future<Output = T>) -> Option<T> {
    let mut stop = shared.stop.clone();
    tokio::select! {
        biased;
        done = work => Some(done),
        // An error means that the sender is gone: stop as well.
        _ = stop.wait_for(|stop| *stop) => None,
    }
}
