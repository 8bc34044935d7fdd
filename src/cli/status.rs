//! `eipdns status`

use clap::Args;
use serde_json::Value;

use super::remote::{Deadline, PATIENCE, Remote};
use super::{Exit, print};
use crate::host::text::one_line;

/// Says how the running server and its sources do: 0 when every source is
/// healthy, 1 when one is not, 69 when the server cannot be reached.
#[derive(Debug, Args)]
pub(super) struct StatusOf {
    #[command(flatten)]
    remote: Remote,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Say nothing; 0 when the server answers, however its sources do: for a
    /// container's health check
    #[arg(long, conflicts_with = "json")]
    live: bool,
}

impl StatusOf {
    pub(super) fn run(self) -> Exit {
        let client = self.remote.client(Deadline::within(PATIENCE));
        let status: Value = match client.and_then(|client| client.get("/api/status", &[])) {
            Ok(status) => status,
            Err(error) => return error.tell(super::WITHOUT_SERVER),
        };
        if self.live {
            return Exit::Ok;
        }
        let text = if self.json { format!("{status}\n") } else { text(&status) };
        let exit = if status["healthy"] == true { Exit::Ok } else { Exit::No };
        print::answer(&text, exit)
    }
}

/// Who may have how many descriptors, and who has them.
fn descriptors(status: &Value, word: impl Fn(&Value) -> String) -> String {
    let (all, now) = (&status["descriptors"], &status["connections"]);
    let mut out = format!(
        "descriptors: {} of {} open; DNS over TCP {} of {}, HTTP {} of {}, to upstreams {} of {}\n",
        word(&all["open"]),
        word(&all["limit"]),
        word(&now["tcp"]),
        word(&all["tcp"]),
        word(&now["http"]),
        word(&all["http"]),
        word(&now["upstream_sockets"]),
        word(&all["upstreams"]),
    );
    if all["enough"] == false {
        out += &format!(
            "  FEWER DESCRIPTORS than the {} this configuration can use: raise LimitNOFILE= (ulimit -n)\n",
            word(&all["wanted"]),
        );
    }
    let turned_away = [
        ("tcp_refused", "TCP connections refused"),
        ("tcp_evicted", "closed for newcomers"),
        ("strangers_turned_away", "of clients in no view turned away"),
        ("http_turned_away", "HTTP connections turned away"),
        ("http_slow", "closed as slow"),
        ("no_upstream_socket", "questions without a socket to an upstream"),
    ];
    let some: Vec<_> = turned_away
        .into_iter()
        .filter(|(key, _)| now[*key].as_u64().is_some_and(|count| count > 0))
        .map(|(key, what)| format!("{} {what}", word(&now[key])))
        .collect();
    if !some.is_empty() {
        out += &format!("  since the start: {}\n", some.join(", "));
    }
    out
}

/// What of a source's last good answer cannot be used.
fn left_out(source: &Value, word: impl Fn(&Value) -> String) -> String {
    let shown = source["left_out_first"].as_array().map_or(&[][..], Vec::as_slice);
    let mut out: String = shown.iter().map(|why| format!("  LEFT OUT: {}\n", word(why))).collect();
    let more = source["left_out"].as_u64().unwrap_or_default().saturating_sub(shown.len() as u64);
    if more > 0 {
        out += &format!("  LEFT OUT: {more} more entries\n");
    }
    out
}

/// Views with names that have no address, or no answer at all.
fn names(status: &Value, word: impl Fn(&Value) -> String) -> String {
    let mut out = String::new();
    for view in status["views"].as_array().into_iter().flatten() {
        if view["without_address"] != 0 || view["not_ready"] != 0 {
            out += &format!(
                "view {}: of {} names {} WITHOUT ADDRESS (NODATA), {} NOT READY (SERVFAIL)\n",
                word(&view["view"]),
                word(&view["names"]),
                word(&view["without_address"]),
                word(&view["not_ready"]),
            );
        }
    }
    out
}

/// From a change to the answer, and what that is made of.
fn worst_case(status: &Value, word: impl Fn(&Value) -> String) -> String {
    let (total, of) = (status["worst_case"].as_f64().unwrap_or_default(), &status["worst_case_of"]);
    let ttl = match &of["ttl_of"] {
        Value::Null => "no name follows an Elastic IP".to_owned(),
        name => format!("TTL {} s of {}", word(&of["ttl"]), word(name)),
    };
    match (of["poll"].as_f64(), of["call"].as_f64()) {
        (Some(poll), Some(call)) => format!(
            "worst case from associate-address to answer: {total:.1} s \
             (poll {poll} s, call {call} s, {ttl})\n"
        ),
        _ => format!(
            "worst case from an edit of the file to answer: {total:.1} s (seen at once; {ttl})\n"
        ),
    }
}

/// For a terminal.
fn text(status: &Value) -> String {
    let word = |v: &Value| match v {
        Value::String(text) => one_line(text).into_owned(),
        Value::Null => "-".into(),
        other => other.to_string(),
    };
    let mut out = format!(
        "eipdns {} up {} s at {}\n",
        word(&status["version"]),
        word(&status["uptime"]),
        status["dns"].as_array().into_iter().flatten().map(word).collect::<Vec<_>>().join(" "),
    );
    out += &format!(
        "generation {} published {} built in {:.1} ms, {} deliveries wait, {} names moved since the start\n",
        word(&status["generation"]),
        word(&status["published_at"]),
        status["built_in_ms"].as_f64().unwrap_or_default(),
        word(&status["publishing"]["waiting"]),
        word(&status["moves"]),
    );
    out += &worst_case(status, word);
    if !status["not_ready"].is_null() {
        out += &format!("NOT READY: {}\n", word(&status["not_ready"]));
    }
    if !status["publish_trouble"].is_null() {
        out += &format!("NOT PUBLISHED: {}\n", word(&status["publish_trouble"]));
    }
    let publishing = &status["publishing"];
    if publishing["hangs"] == true {
        out += &format!(
            "THE PUBLISHING LOOP HANGS: its last turn was {:.1} s ago, {} deliveries wait\n",
            publishing["turned"].as_f64().unwrap_or_default(),
            word(&publishing["waiting"]),
        );
    }
    if !status["reloads"]["trouble"].is_null() {
        out += &format!("CONFIGURATION NOT RELOADED: {}\n", word(&status["reloads"]["trouble"]));
    }
    if !status["state_trouble"].is_null() {
        out += &format!("STATE NOT KEPT: {}\n", word(&status["state_trouble"]));
    }
    if !status["log"]["trouble"].is_null() {
        out += &format!("LOG: {}\n", word(&status["log"]["trouble"]));
    }
    out += &descriptors(status, word);
    if status["file_readings_hanging"].as_u64().unwrap_or_default() > 0 {
        out += &format!("readings of files that hang: {}\n", status["file_readings_hanging"]);
    }
    for source in status["sources"].as_array().into_iter().flatten() {
        let age = source["age"].as_f64().map_or("never".into(), |age| format!("{age:.1} s ago"));
        out += &format!(
            "source {} ({} {}): {}, last good answer {age}, {} addresses, {} of {} calls failed\n",
            word(&source["name"]),
            word(&source["type"]),
            word(&source["region"]),
            word(&source["health"]),
            word(&source["addresses"]),
            word(&source["failures"]),
            word(&source["polls"]),
        );
        if !source["why"].is_null() {
            out += &format!("  since {}: {}\n", word(&source["since"]), word(&source["why"]));
        }
        out += &left_out(source, word);
        if source["mass_loss"] == true {
            out += "  MASS LOSS held back: `eipdns refresh --accept` if it is meant\n";
        }
        for held in source["held"].as_array().into_iter().flatten() {
            out += &format!(
                "  held: {} {} since {}, until {}\n",
                word(&held["elastic_ip"]),
                word(&held["standing"]),
                word(&held["since"]),
                word(&held["until"]),
            );
        }
    }
    let forwarding = &status["forwarding"];
    for upstream in forwarding["upstreams"].as_array().into_iter().flatten() {
        out += &format!(
            "upstream {}: {}, {}, {} sent, {} timeouts, {} wait for max_rate, {} turned away by it\n",
            word(&upstream["address"]),
            if upstream["up"] == true { "up" } else { "DOWN" },
            match upstream["round_trip_ms"].as_f64() {
                Some(ms) => format!("{ms:.1} ms"),
                None => "not answered yet".to_owned(),
            },
            word(&upstream["sent"]),
            word(&upstream["timeouts"]),
            word(&upstream["waiting"]),
            word(&upstream["throttled"]),
        );
    }
    for one in forwarding["loops"].as_array().into_iter().flatten() {
        out += &format!("FORWARDING LOOP through {}\n", word(one));
    }
    if !forwarding.is_null() {
        out += &format!(
            "forwarding: {} under way, {} clients waiting, {} turned away, {} answers cached ({} octets)\n",
            word(&forwarding["outstanding"]),
            word(&forwarding["waiting"]),
            word(&forwarding["shed"]),
            word(&forwarding["cached"]),
            word(&forwarding["cached_bytes"]),
        );
    }
    out += &names(status, word);
    for zone in status["zones"].as_array().into_iter().flatten() {
        out += &format!(
            "zone {} serial {} in views {}, {} names\n",
            word(&zone["origin"]),
            word(&zone["serial"]),
            zone["views"].as_array().into_iter().flatten().map(word).collect::<Vec<_>>().join(", "),
            word(&zone["names"]),
        );
    }
    out
}
