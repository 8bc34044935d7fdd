//! Who may have how many descriptors, as the configuration has it.

use tracing::{info, warn};

use crate::config::{Listen, Server, SourceKind};
use crate::forward::{MAX_SOCKETS, flights_within};
use crate::host::descriptors::{self, Budget, Demand, Share};
use crate::http;
use crate::serve::admit::{clients_within, strangers};
use crate::serve::places::MAX_LEAVING;

/// Where connections lose their place to others: those of clients and of
/// strangers over TCP, and those to the HTTP side from here and from elsewhere.
const POOLS: usize = 4;

/// The budget in use, and who has to keep to it.
pub(super) struct Descriptors {
    limit: usize,
    /// What was open at the start.
    inherited: usize,
    budget: Budget,
    upstreams: Share,
    /// None: there is no HTTP side, and none before a restart.
    http: Option<http::Places>,
}

impl Descriptors {
    /// Raises the limit and divides it.
    pub(super) fn raise(server: &Server) -> Self {
        let http = server.listen.http.map(|_| http::Places::default());
        // Without /proc: the standard streams.
        let inherited = descriptors::open().unwrap_or(3);
        let (limit, budget) = (descriptors::raise(), Budget::default());
        let mut all = Self { limit, inherited, budget, upstreams: Share::new(0), http };
        all.apply(server);
        all
    }

    /// What to listen with: no more TCP clients than there are descriptors for.
    pub(super) fn listen(&self, server: &Server) -> Listen {
        let mut listen = server.listen.clone();
        let most = clients_within(self.divide(server).tcp);
        listen.tcp_clients = listen.tcp_clients.min(most);
        listen
    }

    /// Divides anew, for a configuration that is in use from now on; says so
    /// when that changes something.
    pub(super) fn apply(&mut self, server: &Server) {
        let budget = self.divide(server);
        self.upstreams.set(budget.upstreams);
        if let Some(http) = &self.http {
            http.set(budget.http);
        }
        if std::mem::replace(&mut self.budget, budget) != budget {
            tell(&budget, server);
        }
    }

    /// The budget in use.
    pub(super) fn budget(&self) -> Budget {
        self.budget
    }

    /// Each socket to an upstream takes one of these.
    pub(super) fn upstreams(&self) -> &Share {
        &self.upstreams
    }

    /// Each connection to the HTTP side takes one of these.
    pub(super) fn http(&self) -> Option<&http::Places> {
        self.http.as_ref()
    }

    fn divide(&self, server: &Server) -> Budget {
        let Listen { dns, workers, tcp_clients, .. } = &server.listen;
        let files = |kind: &SourceKind| match kind {
            SourceKind::File { interfaces, .. } => 1 + usize::from(interfaces.is_some()),
            SourceKind::Ec2(_) => 0,
        };
        let files = || server.sources.iter().map(|source| files(&source.kind));
        let forwards = server.views.iter().any(|view| view.forward);
        let has_http = usize::from(self.http.is_some());
        let demand = Demand {
            inherited: self.inherited,
            listeners: dns.len() * (workers + 1) + has_http,
            files: files().sum(),
            ec2_sources: files().filter(|files| *files == 0).count(),
            peers: server.peers.as_ref().map_or(0, |peers| peers.urls.len()),
            leaving: POOLS * MAX_LEAVING,
            tcp: tcp_clients + strangers(*tcp_clients),
            http: has_http * http::MAX_CONNECTIONS,
            upstreams: if forwards { MAX_SOCKETS } else { 0 },
        };
        Budget::divide(self.limit, &demand)
    }
}

fn tell(budget: &Budget, server: &Server) {
    let tcp_clients = clients_within(budget.tcp).min(server.listen.tcp_clients);
    info!(
        limit = budget.limit,
        reserve = budget.reserve,
        tcp_clients,
        http = budget.http,
        upstream_sockets = budget.upstreams,
        flights = flights_within(budget.upstreams),
        "descriptors"
    );
    if !budget.is_enough() {
        warn!(
            limit = budget.limit,
            wanted = budget.wanted,
            tcp_clients,
            tcp_clients_configured = server.listen.tcp_clients,
            "there are fewer descriptors than this configuration can use, so there are fewer \
             connections of TCP clients and fewer questions under way to upstreams; allow more \
             open files (systemd: LimitNOFILE=, a shell: ulimit -n, docker: --ulimit nofile=), \
             or lower listen.tcp_clients"
        );
    }
}
