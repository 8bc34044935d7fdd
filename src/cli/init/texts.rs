//! The two files of a new configuration. Pure: what comes from AWS stands in comments, in one
//! line and not long, or has been made a label, an address or an id.

use std::fmt::Write;

use super::labels::Named;
use crate::host::text::{brief, one_line};
use crate::source::ec2::Principal;

/// As many characters of a text from AWS stand in a comment.
const SHOWN: usize = 60;

/// What server.toml is made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground<'g> {
    pub region: &'g str,
    pub endpoint: Option<&'g str>,
    /// None: nobody says so.
    pub principal: Option<&'g Principal>,
}

/// server.toml.
pub(super) fn server(ground: Ground<'_>) -> String {
    let Ground { region, endpoint, principal } = ground;
    let account = match principal.map(|principal| quoted(&principal.account)) {
        Some(account) => {
            format!("account = {account}        # what another account says is refused")
        }
        None => {
            "# account = \"111122223333\"     # not known when this was written: pins the account"
                .into()
        }
    };
    let endpoint = endpoint.map(|url| format!("endpoint_url = {}\n", quoted(url)));
    format!(
        r##"# Where eipdns listens, who may ask, and where addresses come from. Written once, by
# `eipdns init`: it is yours now. Every other *.toml in this directory is a zone.
# `eipdns check` looks at all of them, `eipdns check --aws` asks EC2 as well; SIGHUP
# makes a running server read them again.

[listen]
dns  = ["127.0.0.1:5300"]         # UDP and TCP on each; for others: this host's address and port 53
http = "127.0.0.1:8053"           # status, metrics, health, refresh; leave out to switch off

# Where Elastic IPs and their private addresses come from: one block for each
# account and region. The server asks with the role of its instance, or as
# `profile` and `role_arn` here say.
[[source]]
name    = "main"
type    = "ec2"                   # polls DescribeAddresses every second
region  = {region}
{account}
{endpoint}
# Who asks, and what they see. The longest matching prefix wins, so the order
# of views does not matter. Clients in no view are refused.
[[view]]
name    = "vpc"
clients = ["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7"]
answer  = "private"               # private | cname | public
forward = true                    # may ask for names outside our zones

# Whom to ask for those. Without this block: whom this host asks itself. In EC2:
#
#   [[forward]]
#   upstreams = ["169.254.169.253"]     # the VPC's resolver; at most 800 packets/s go there
"##,
        region = quoted(region),
        endpoint = endpoint.unwrap_or_default(),
    )
}

/// The zone's file.
pub(super) fn zone(zone: &str, region: &str, all: &[Named]) -> String {
    let mut text = format!(
        r#"# The zone {zone}: the file's name is the origin. Written once, by `eipdns init`, from
# the Elastic IPs in {region}: it is yours now.
# Keys of the zone, such as `ttl = 5` (seconds, the default), go above [names].

[names]
# A name is answered with the private address of whatever holds its Elastic IP now;
# `aws ec2 associate-address` moves it.
"#
    );
    let (served, left_out): (Vec<_>, Vec<_>) = all.iter().partition(|one| one.left_out.is_none());
    if served.is_empty() {
        text += "# None yet: no address has a tag Name that can be a name here. As in:\n\
                 # db = \"75.101.137.243\"\n";
    }
    lines(&mut text, "", &served);
    if !left_out.is_empty() {
        text +=
            "\n# Not served. Remove the `#` before a line to serve it; the name is a proposal.\n";
        lines(&mut text, "# ", &left_out);
    }
    let _ = write!(
        text,
        r#"
# Names may come from tags, too, without an edit and without a reload:
#
#   [discover]
#   tag = "dns-name"              # an Elastic IP tagged dns-name=db is db.{zone}
"#
    );
    text
}

/// One line for each address; `before` makes it a comment.
fn lines(text: &mut String, before: &str, all: &[&Named]) {
    let width = all.iter().map(|one| one.label.len()).max().unwrap_or_default();
    for one in all {
        let Named { label, target, allocation, tag, left_out } = one;
        let tag = tag.as_ref().map(|tag| format!("Name {}", shown(tag)));
        let id = allocation.as_ref().filter(|id| *id != target).map(|id| comment(id));
        let why = left_out.as_ref().map(|why| one_line(&why.to_string()).into_owned());
        let about: Vec<_> = [tag, id, why].into_iter().flatten().collect();
        let binding = format!("{label:<width$} = {}", quoted(target));
        // Writing to a string does not fail.
        let _ = writeln!(text, "{before}{binding:<26}  # {}", about.join("; "));
    }
}

/// A text of somebody else, in quotes, for a comment or a terminal.
pub(super) fn shown(text: &str) -> String {
    format!("\"{}\"", comment(text))
}

/// TOML allows no control characters in comments, and a line's end would end one.
fn comment(text: &str) -> String {
    one_line(&brief(text, SHOWN)).into_owned()
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => drop(write!(quoted, "\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}
