//! Peers that do not answer, or that answer otherwise.

use super::{one_name, scrape_until, well};
use crate::fixtures::promtool::{fires, promtool, while_it_lasts};
use crate::harness::Server;
use crate::replicas::{moved_alone, with_peers};

#[test]
fn a_peer_is_out_of_reach() {
    let Some(promtool) = promtool() else { return };
    let dir = one_name("");
    // Nobody listens there.
    with_peers(&dir, &[([127, 0, 0, 1], 9).into()]);
    let server = Server::start(dir.path());
    let before = well(&server);
    let after = scrape_until(&server, "it was asked", |scrape| {
        scrape.has("eipdns_peer_reached", "peer=\"127.0.0.1:9\"")
    });
    fires(&promtool, &while_it_lasts(&before, &after), &["EipdnsPeerUnreachable"]);
}

#[test]
fn a_peer_answers_otherwise() {
    let Some(promtool) = promtool() else { return };
    let all = moved_alone();
    let (server, peer) = all.second();
    let labels = format!("peer=\"{peer}\"");
    let after = scrape_until(server, "it is a problem", |scrape| {
        scrape.value("eipdns_peer_differs", &labels) == 1.0
    });
    fires(&promtool, &while_it_lasts(&after, &after), &["EipdnsPeerDiffers"]);
}
