//! Reads `[[view]]`: who asks, and what they see.

use std::collections::HashMap;
use std::net::SocketAddr;

use ipnet::IpNet;

use super::addresses::{ip_or_socket, prefix};
use super::readers::{at, list, mode, truth, word};
use super::scope::Scope;
use super::table::Table;
use super::value::{At, Value};
use super::{Mode, View};

/// A client prefix, its value in the file, and the view it belongs to.
struct ClientPrefix<'f> {
    net: At<IpNet>,
    value: Value<'f>,
    view: usize,
}

/// Every view, and whether the names of all are known.
pub(super) fn read_all(root: &mut Table<'_>, dns: &[SocketAddr]) -> (Vec<View>, bool) {
    let blocks = root.blocks("view", Scope::View);
    if blocks.is_empty() && root.get("view").is_none() {
        root.missing(
            "there is no `[[view]]`, so every client would be refused",
            "add `[[view]]` with `name`, `clients` and `answer`",
        );
    }
    let mut complete = true;
    let mut views: Vec<View> = vec![];
    let mut clients: Vec<ClientPrefix<'_>> = vec![];
    for mut block in blocks {
        let name = block.get("name");
        let nets = block.get("clients");
        let view = read(&mut block, dns);
        block.finish();
        let Some((view, places)) = view else {
            complete = false;
            continue;
        };
        if let Some(first) = views.iter().find(|v| v.name == view.name)
            && let Some(name) = name
        {
            name.error(
                format!("a view named \"{}\" is already at {}", view.name, first.place),
                "give one of them another name",
            );
        }
        let values = nets.and_then(|v| v.as_list()).unwrap_or_default();
        views.push(view);
        let view = views.len() - 1;
        clients.extend(places.into_iter().zip(values).map(|(net, value)| ClientPrefix {
            net,
            value,
            view,
        }));
    }
    twice(&clients, &views);
    (views, complete)
}

fn read(t: &mut Table<'_>, dns: &[SocketAddr]) -> Option<(View, Vec<At<IpNet>>)> {
    let name = t.require("name", "zones and logs could not refer to it", "\"vpc\"", word("vpc"));
    let prefixes = || list("prefixes", "\"10.0.0.0/8\"", at(prefix));
    let clients = t
        .require("clients", "nobody would be in it", "[\"10.0.0.0/8\"]", prefixes())
        .unwrap_or_default();
    let why = "nothing says what names are answered with";
    let forward = t.take("forward", truth).unwrap_or(false);
    let view = View {
        place: t.place(),
        clients: clients.iter().map(|c| c.value).collect(),
        listen: t
            .take("listen", list("addresses", "\"10.0.0.53\"", |v| listen(v, dns)))
            .unwrap_or_default(),
        answer: t.require("answer", why, "\"private\"", mode).unwrap_or(Mode::Private),
        reaches: t
            .take("reaches", prefixes())
            .map(|all| all.into_iter().map(|p| p.value).collect()),
        forward,
        rewrite: t.take("rewrite", truth).unwrap_or(false),
        ec2_names: t.take("ec2_names", truth).unwrap_or(forward),
        name: name?,
    };
    if view.rewrite
        && !forward
        && let Some(value) = t.get("rewrite")
    {
        value.warn(
            "only forwarded answers are rewritten, and this view forwards nothing",
            "add `forward = true`, or remove `rewrite`",
        );
    }
    Some((view, clients))
}

/// An address queries arrive at. That none can is worth a warning only: the
/// address may be in a file that several hosts share.
fn listen(v: &Value<'_>, dns: &[SocketAddr]) -> Option<SocketAddr> {
    let wanted = ip_or_socket(v)?;
    let served = |d: &SocketAddr| {
        let ip =
            d.ip() == wanted.ip() || d.ip().is_unspecified() && d.is_ipv4() == wanted.is_ipv4();
        ip && (wanted.port() == d.port() || wanted.port() == 0 || d.port() == 0)
    };
    if !dns.is_empty() && !dns.iter().any(served) {
        let shown = match wanted.port() {
            0 => wanted.ip().to_string(),
            _ => wanted.to_string(),
        };
        let dns: Vec<_> = dns.iter().map(ToString::to_string).collect();
        v.warn(
            format!("no query arrives at {shown}: `dns` in [listen] is at {}", dns.join(", ")),
            "add it there with its port, or remove it here",
        );
    }
    Some(wanted)
}

/// A prefix that two views want for the same queries is an error: which of
/// them a client sees must not depend on order.
fn twice(clients: &[ClientPrefix<'_>], views: &[View]) {
    let mut seen: HashMap<IpNet, Vec<&ClientPrefix<'_>>> = HashMap::new();
    for client in clients {
        let others = seen.entry(client.net.value).or_default();
        let rival = others.iter().find(|o| match (views.get(o.view), views.get(client.view)) {
            (Some(a), Some(b)) => o.view == client.view || same_queries(&a.listen, &b.listen),
            _ => false,
        });
        if let Some(rival) = rival {
            let net = client.net.value;
            let (what, remedy) = match views.get(rival.view) {
                Some(view) if rival.view != client.view => (
                    format!("prefix {net} is also in view \"{}\" ({})", view.name, rival.net.place),
                    "keep it in one of the two, or give the views different `listen` addresses",
                ),
                _ => (format!("prefix {net} is in `clients` twice"), "keep one of the two"),
            };
            client.value.error(what, remedy);
        }
        others.push(client);
    }
}

/// Is there a query that both views would look at in the same round? Views
/// with `listen` are looked at before those without.
fn same_queries(a: &[SocketAddr], b: &[SocketAddr]) -> bool {
    let same = |a: &SocketAddr, b: &SocketAddr| {
        a.ip() == b.ip() && (a.port() == b.port() || a.port() == 0 || b.port() == 0)
    };
    match (a.is_empty(), b.is_empty()) {
        (true, true) => true,
        (false, false) => a.iter().any(|a| b.iter().any(|b| same(a, b))),
        _ => false,
    }
}
