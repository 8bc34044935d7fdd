//! The peers' tasks: one each, for as long as it is configured.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::{AbortHandle, JoinSet};
use tracing::info;

use super::RunError;
use crate::config::{self, Config};
use crate::host::addresses::host_addresses;
use crate::peers::{Handle, Ours, Teller, Which};
use crate::status::board::peers::{self, Peer, Token};

/// The peers' tasks.
pub(super) struct Peers {
    seen: peers::Peers,
    ours: Ours,
    running: Vec<Running>,
    tasks: JoinSet<()>,
}

struct Running {
    peer: Arc<Peer>,
    handle: Handle,
    task: AbortHandle,
}

impl Peers {
    /// None yet.
    pub(super) fn new(ours: Ours) -> Self {
        Self { seen: peers::Peers::default(), ours, running: Vec::new(), tasks: JoinSet::new() }
    }

    /// What is known of them.
    pub(super) fn seen(&self) -> &peers::Peers {
        &self.seen
    }

    /// Runs what is configured. A peer that stays goes on as it was, with the new token.
    pub(super) fn apply(&mut self, config: &Config, token: Option<Token>) {
        let wanted = config.server.peers.as_ref().map_or(Vec::new(), |peers| others(config, peers));
        let mut before = std::mem::take(&mut self.running);
        for address in wanted {
            let running = match before.iter().position(|one| one.peer.address == address) {
                Some(at) => before.swap_remove(at),
                None => self.start(address),
            };
            self.running.push(running);
        }
        before.iter().for_each(|gone| gone.task.abort());
        self.seen.configure(token, self.running.iter().map(|one| Arc::clone(&one.peer)).collect());
    }

    fn start(&mut self, address: SocketAddr) -> Running {
        let peer = Arc::new(Peer::new(address));
        let (teller, handle) = Teller::new(Arc::clone(&peer), self.seen.clone(), self.ours.clone());
        let task = self.tasks.spawn(teller.run());
        Running { peer, handle, task }
    }

    /// A change of this source is answered: all peers are told to look. Returns at once.
    pub(super) fn hint(&self, source: &str) {
        let which = Which::Named(source.to_owned());
        self.running.iter().for_each(|one| one.handle.hint(&which));
    }

    /// Waits until a task ends that should not. Cancel safe.
    pub(super) async fn failed(&mut self) -> RunError {
        loop {
            match self.tasks.join_next().await {
                // One that a reload took away.
                Some(Err(error)) if error.is_cancelled() => {}
                Some(Err(error)) => return RunError::Peers(error.to_string()),
                Some(Ok(())) => return RunError::Peers("it was not told to".into()),
                None => std::future::pending().await,
            }
        }
    }
}

/// Those configured, less our own address where we listen at every one.
fn others(config: &Config, peers: &config::Peers) -> Vec<SocketAddr> {
    let any = config.server.listen.http.filter(|http| http.ip().is_unspecified());
    let Some(http) = any else { return peers.urls.clone() };
    let here = host_addresses();
    let is_own = |url: &&SocketAddr| url.port() == http.port() && here.contains(&url.ip());
    if let Some(own) = peers.urls.iter().find(is_own) {
        info!(peer = %own, "this peer is this server: it is left out");
    }
    peers.urls.iter().filter(|url| !is_own(url)).copied().collect()
}
