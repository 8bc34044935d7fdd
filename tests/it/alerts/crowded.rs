//! More who want something than there is.

use std::net::TcpStream;

use super::{one_name, well};
use crate::fixtures::connections::{connect_from, is_closed, start_with_descriptors};
use crate::fixtures::promtool::{Scrape, fires, promtool, while_it_lasts};
use crate::fixtures::waiting::eventually;
use crate::harness::Server;

/// So many descriptors for all: fewer than the defaults can use.
const LIMIT: usize = 3072;

#[test]
fn few_descriptors_and_all_of_them_taken() {
    let Some(promtool) = promtool() else { return };
    let dir = one_name("");
    let server = start_with_descriptors(dir.path(), LIMIT);
    let (http, before) = (server.http(), well(&server));
    assert!(before.value("process_max_fds", "") == LIMIT as f64);
    fires(&promtool, &while_it_lasts(&before, &before), &["EipdnsDescriptorsFew"]);

    let places = before.value("eipdns_descriptors_budget", "for=\"tcp\"") as usize;
    let clients: Vec<TcpStream> = (0..places + 100)
        .map(|nth| connect_from([127, 0, 0, (nth % 100) as u8 + 2], server.dns))
        .collect();
    eventually("some had to go", || clients.iter().filter(|s| is_closed(s)).count() >= 50);
    let web: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(&http).unwrap()).collect();
    let after = Scrape::of(&http);
    let (open, most) = (after.value("process_open_fds", ""), after.value("process_max_fds", ""));
    let (tcp, web_open) = (after.value("eipdns_tcp_open", ""), after.value("eipdns_http_open", ""));
    println!("{open} of {most} descriptors are open; {tcp} TCP, {web_open} HTTP, {places} places");
    let expected = ["EipdnsDescriptorsFew", "EipdnsDescriptorsNearLimit", "EipdnsTcpPlacesFull"];
    fires(&promtool, &while_it_lasts(&before, &after), &expected);
    drop((web, clients));
}

/// Who is in no view pushes out nobody but others in no view: no alert.
#[test]
fn strangers_alone_are_no_reason() {
    let Some(promtool) = promtool() else { return };
    let dir = one_name("");
    dir.edit("127.0.0.0/8", "127.0.0.0/24");
    let server = Server::start(dir.path());
    let (http, before) = (server.http(), well(&server));
    let crowd: Vec<TcpStream> =
        (0..300).map(|nth| connect_from([127, 0, 1, (nth % 100) as u8 + 1], server.dns)).collect();
    let mut after = before.clone();
    eventually("some had to go", || {
        after = Scrape::of(&http);
        after.value("eipdns_tcp_strangers_total", "event=\"evicted\"") > 0.0
    });
    fires(&promtool, &while_it_lasts(&before, &after), &[]);
    drop(crowd);
}
