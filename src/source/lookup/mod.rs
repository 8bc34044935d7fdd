//! Finds the addresses of EC2's endpoints: a DNS client of a few questions,
//! pinned to resolvers that are not us.
//!
//! The host's own resolution would do, but where eipdns serves its host (the
//! usual case in a VPC whose DHCP options name it) every call to EC2 would
//! come round to us, and a restart with EC2 needed would never find it.
//!
//! As the host does: `localhost`, then the hosts file, then DNS. Otherwise
//! than the host: names are absolute, search lists are not used, and the last
//! addresses found are used on while no resolver answers.

mod ask;
mod found;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_proto::rr::Name;
use tokio::time::Instant;

use crate::dns::name::Key;
use crate::host::aside::{Aside, Cause, Place};
use crate::host::files;
use crate::host::often::Often;
use ask::ask;
use found::Found;
pub use found::LookupError;

/// How often all resolvers are asked.
const ROUNDS: usize = 2;

/// How long the disk has for the hosts file: a part of the second that a call
/// to EC2 gives name and connection together.
const HOSTS: Duration = Duration::from_millis(200);

/// The largest /etc/hosts that is read, in octets: more is no list of hosts.
const MAX_HOSTS: u64 = 1 << 20;

/// Looks names up. A clone shares what was found.
#[derive(Debug, Clone)]
pub struct Resolver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    servers: Mutex<Arc<[SocketAddr]>>,
    hosts: PathBuf,
    /// The server that answered last is asked first.
    first: AtomicUsize,
    found: Mutex<HashMap<String, Found>>,
    failing: Often,
}

impl Resolver {
    /// Asks `servers`, in turn.
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self::with_hosts(servers, PathBuf::from("/etc/hosts"))
    }

    fn with_hosts(servers: Vec<SocketAddr>, hosts: PathBuf) -> Self {
        let (first, found, failing) = Default::default();
        let servers = Mutex::new(servers.into());
        Self(Arc::new(Inner { servers, hosts, first, found, failing }))
    }

    /// Asks `servers` from the next lookup on, and forgets what others said.
    /// All clones do.
    pub(crate) fn set(&self, servers: &[SocketAddr]) {
        let mut now = self.0.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if **now == *servers {
            return;
        }
        *now = servers.into();
        drop(now);
        self.found().clear();
    }

    /// The addresses of `name`, IPv4 first.
    ///
    /// # Errors
    /// When it has none, or none is known and no resolver answers.
    pub async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        if name == "localhost" || name.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let listed = in_hosts(&self.hosts().await, &name);
        if !listed.is_empty() {
            return Ok(listed);
        }
        let known = self.found().get(&name).cloned();
        if let Some(found) = &known
            && found.until > Instant::now()
        {
            return Ok(found.addresses.clone());
        }
        match (self.ask_all(&name).await, known) {
            (Ok(found), _) => {
                self.found().insert(name, found.clone());
                Ok(found.addresses)
            }
            (Err(error), Some(old)) => {
                if let Some(left_out) = self.0.failing.may(Instant::now().into_std()) {
                    tracing::debug!(
                        name, %error, left_out,
                        "the addresses found before are used on"
                    );
                }
                Ok(old.addresses)
            }
            (Err(error), None) => Err(error),
        }
    }

    fn found(&self) -> MutexGuard<'_, HashMap<String, Found>> {
        self.0.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hosts file; one that cannot be read in time names nobody.
    async fn hosts(&self) -> String {
        let path = self.0.hosts.clone();
        let mut reading = Aside::new(Place::read(&path), HOSTS);
        let octets = match reading.begin(Cause::Told, move || files::read(&path, MAX_HOSTS)) {
            Ok(()) => reading.next().await,
            Err(error) => Err(error),
        };
        let octets = octets.ok().and_then(Result::ok).unwrap_or_default();
        String::from_utf8_lossy(&octets).into_owned()
    }

    async fn ask_all(&self, name: &str) -> Result<Found, LookupError> {
        let name = Name::from_ascii(name).map_err(|_| LookupError::NotAName)?;
        let name = Key::from_name(&name);
        let servers = self.0.servers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let start = self.0.first.load(Ordering::Relaxed);
        let mut last = LookupError::NoResolver;
        for (at, server) in
            servers.iter().enumerate().cycle().skip(start).take(ROUNDS * servers.len())
        {
            match ask(*server, &name).await {
                Err(error) if !error.is_final() => last = error,
                outcome => {
                    self.0.first.store(at, Ordering::Relaxed);
                    return outcome;
                }
            }
        }
        Err(last)
    }
}

/// The addresses that a hosts(5) file gives to `name`, IPv4 first.
fn in_hosts(hosts: &str, name: &str) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = hosts
        .lines()
        .filter_map(|line| {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let address = words.next()?.parse().ok()?;
            words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
        })
        .collect();
    found.sort_by_key(IpAddr::is_ipv6);
    found
}
