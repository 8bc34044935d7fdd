//! The other replicas; nothing where there are none.

use super::page::Page;
use crate::status::board::Board;

pub(super) fn write(page: &mut Page, board: &Board) {
    let peers = board.peers.all();
    if peers.is_empty() {
        return;
    }
    let hints = board.peers.hints();
    let help = "Hints of peers to look: received, and those that asked no source";
    let mut all = page.counter("eipdns_hints_total", help);
    all.with(&[("event", "received")], hints.received);
    all.with(&[("event", "ignored")], hints.ignored);
    let standings: Vec<_> =
        peers.iter().map(|peer| (peer.address.to_string(), peer.standing())).collect();
    let mut all = page.gauge("eipdns_peer_reached", "1: the peer answers, as far as is known");
    // One that was not asked yet is not known to be out of reach.
    for (name, standing) in &standings {
        if let Some(reached) = standing.reached {
            all.with(&[("peer", name)], reached);
        }
    }
    let help = "Zones and views that a peer has answered otherwise for too long";
    let mut all = page.gauge("eipdns_peer_differs", help);
    for (name, standing) in &standings {
        all.with(&[("peer", name)], standing.differing());
    }
    let mut all =
        page.counter("eipdns_peer_hints_total", "Hints to a peer, and those it did not take");
    for peer in &peers {
        let (name, (sent, failed)) = (peer.address.to_string(), peer.hints());
        all.with(&[("peer", &name), ("event", "sent")], sent);
        all.with(&[("peer", &name), ("event", "failed")], failed);
    }
}
