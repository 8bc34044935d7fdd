//! Random zones with everything in them that answers depend on, and questions
//! about them.
//!
//! Names follow a scheme so that no zone breaks a rule of master files: `d*`
//! are delegations, `r*` DNAMEs, `c*` aliases, `w*` have wildcards below them,
//! all others are plain.

use std::collections::BTreeMap;
use std::fmt::Write;

use hickory_proto::rr::RecordType;

use super::dice::Dice;

/// A zone as a master file.
pub(super) struct Zone {
    /// With a final dot.
    pub origin: String,
    pub text: String,
    /// Owners, empty non-terminals and names that are not there.
    pub names: Vec<String>,
}

/// A question.
pub(super) struct Question {
    pub name: String,
    pub rtype: u16,
    pub size: Option<u16>,
    pub dnssec_ok: bool,
}

/// Labels of plain names.
const PLAIN: &[&str] = &["a", "b", "www", "mail", "host", "x", "deep", "_tcp", "n1"];

/// Random zones of `test.`: `count` of them, and children of some.
pub(super) fn zones(dice: &mut Dice, count: usize) -> Vec<Zone> {
    let mut all = Vec::new();
    for nth in 0..count {
        let origin = format!("z{nth}.test.");
        if dice.one_in(3) {
            let child = format!("kid.{origin}");
            all.push(Draft::new(dice, &child, count).zone(dice, None));
            let delegated = !dice.one_in(4);
            all.push(Draft::new(dice, &origin, count).zone(dice, delegated.then_some(child)));
        } else if dice.one_in(8) {
            all.push(Draft::new(dice, &origin, count).all_elsewhere(dice));
        } else {
            all.push(Draft::new(dice, &origin, count).zone(dice, None));
        }
    }
    all
}

/// A zone in the making.
struct Draft {
    origin: String,
    /// How many zones there are, for names in others.
    count: usize,
    /// Owner, then type, then TTL and data.
    sets: BTreeMap<String, BTreeMap<&'static str, (u32, Vec<String>)>>,
    /// Where names may lead.
    targets: Vec<String>,
}

impl Draft {
    fn new(dice: &mut Dice, origin: &str, count: usize) -> Self {
        let at = |label: &str| format!("{label}.{origin}");
        let mut targets: Vec<String> =
            ["ns1", "www", "a", "mail", "b.a", "c0", "c1", "c2", "nope", "any.w0", "x.y.w0"]
                .iter()
                .chain(&["host.d0", "d0", "q.r0", "www.r1", "deep", "x.deep", "ns.d1"])
                .map(|label| at(label))
                .collect();
        targets.push(origin.to_owned());
        targets.push("host.elsewhere.example.".to_owned());
        for _ in 0..3 {
            let other = dice.below(count);
            let label = dice.pick(&["www", "c0", "any.w0", "nope", "q.r0", "host.d0", "kid"]);
            targets.push(format!("{label}.z{other}.test."));
        }
        Self { origin: origin.to_owned(), count, sets: BTreeMap::new(), targets }
    }

    fn add(&mut self, dice: &mut Dice, owner: &str, rtype: &'static str, data: String) {
        let ttl = *dice.pick(&[5u32, 60, 300, 3600, 86_400]);
        let set = self.sets.entry(owner.to_owned()).or_default();
        let set = set.entry(rtype).or_insert((ttl, Vec::new()));
        if !set.1.contains(&data) {
            set.1.push(data);
        }
    }

    fn zone(mut self, dice: &mut Dice, child: Option<String>) -> Zone {
        self.apex(dice);
        self.primary(dice);
        for nth in 0..=dice.below(3) {
            self.cut(dice, nth);
        }
        if let Some(child) = child {
            self.delegate(dice, &child);
        }
        for nth in 0..dice.below(3) {
            let owner = self.name(&format!("r{nth}"));
            let target = dice.pick(&self.targets).clone();
            self.add(dice, &owner, "DNAME", target);
            if dice.one_in(2) {
                self.data(dice, &owner);
            }
        }
        for nth in 0..dice.below(3) {
            self.wildcard(dice, nth);
        }
        for _ in 0..6 + dice.below(10) {
            self.plain(dice);
        }
        for nth in 0..2 + dice.below(3) {
            let owner = self.name(&format!("c{nth}"));
            let target = dice.pick(&self.targets).clone();
            self.add(dice, &owner, "CNAME", target);
        }
        if dice.one_in(4) {
            self.chain(dice);
        }
        self.finish(dice)
    }

    /// A DNAME at the apex leaves no room for names below it, child zones
    /// included.
    fn all_elsewhere(mut self, dice: &mut Dice) -> Zone {
        self.apex(dice);
        let other = dice.below(self.count);
        self.add(dice, &self.origin.clone(), "DNAME", format!("z{other}.test."));
        self.finish(dice)
    }

    fn name(&self, labels: &str) -> String {
        format!("{labels}.{}", self.origin)
    }

    fn apex(&mut self, dice: &mut Dice) {
        let origin = self.origin.clone();
        let minimum = dice.pick(&[0, 5, 30, 7200]);
        let soa = format!("ns1.{origin} hostmaster.{origin} 4711 3600 600 86400 {minimum}");
        self.add(dice, &origin, "SOA", soa);
        if dice.one_in(2) {
            self.data(dice, &origin);
        }
        let outside = format!("ns{}.elsewhere.example.", dice.below(3));
        self.add(dice, &origin, "NS", outside);
    }

    /// A nameserver in the zone, which also other names are told to use.
    fn primary(&mut self, dice: &mut Dice) {
        let (origin, ns1) = (self.origin.clone(), self.name("ns1"));
        self.add(dice, &origin, "NS", ns1.clone());
        self.addresses(dice, &ns1);
        if dice.one_in(3) {
            let other = dice.below(self.count);
            self.add(dice, &origin, "NS", format!("ns1.z{other}.test."));
            let ns1 = format!("ns1.{}", self.origin);
            self.targets.push(ns1);
        }
    }

    fn addresses(&mut self, dice: &mut Dice, owner: &str) {
        if !dice.one_in(4) {
            for _ in 0..=dice.below(2) {
                let data = format!("10.{}.0.{}", dice.below(9), 1 + dice.below(99));
                self.add(dice, owner, "A", data);
            }
        } else {
            self.address6(dice, owner);
        }
        if dice.one_in(3) {
            self.address6(dice, owner);
        }
    }

    /// More than fits into 512 octets, or into 1,232.
    fn many_addresses(&mut self, dice: &mut Dice, owner: &str) {
        let count = 30 + 50 * dice.below(2);
        let is_v6 = dice.one_in(3);
        for n in 1..=count {
            match is_v6 {
                true => self.add(dice, owner, "AAAA", format!("fd00::8:{n:x}")),
                false => self.add(dice, owner, "A", format!("10.8.0.{n}")),
            }
        }
    }

    fn address6(&mut self, dice: &mut Dice, owner: &str) {
        let data = format!("fd00::{:x}", 1 + dice.below(999));
        self.add(dice, owner, "AAAA", data);
    }

    /// A delegation whose servers are below it, at it, beside it and elsewhere.
    fn cut(&mut self, dice: &mut Dice, nth: usize) {
        let labels = if dice.one_in(3) { format!("d{nth}.deep") } else { format!("d{nth}") };
        let cut = self.name(&labels);
        for _ in 0..=dice.below(3) {
            match dice.below(6) {
                0 | 1 => {
                    let ns = format!("ns.{cut}");
                    self.add(dice, &cut, "NS", ns.clone());
                    self.addresses(dice, &ns);
                    if dice.one_in(4) {
                        self.many_addresses(dice, &ns);
                    }
                }
                2 => {
                    self.add(dice, &cut, "NS", cut.clone());
                    self.addresses(dice, &cut);
                }
                3 => {
                    let sibling = self.name(&format!("ns.d{}", dice.below(3)));
                    self.add(dice, &cut, "NS", sibling.clone());
                    self.addresses(dice, &sibling);
                }
                4 => {
                    let ns1 = self.name("ns1");
                    self.add(dice, &cut, "NS", ns1);
                }
                _ => {
                    let other = dice.below(self.count);
                    self.add(dice, &cut, "NS", format!("ns1.z{other}.test."));
                }
            }
        }
        if dice.one_in(2) {
            self.ds(dice, &cut);
        }
        if dice.one_in(3) {
            // Hidden by the delegation.
            let hidden = format!("host.{cut}");
            self.data(dice, &hidden);
        }
    }

    fn ds(&mut self, dice: &mut Dice, owner: &str) {
        let digest = "0123456789abcdef".repeat(4);
        let data = format!("{} 13 2 {digest}", dice.below(65_536));
        self.add(dice, owner, "DS", data);
    }

    /// The delegation of a zone that is served too.
    fn delegate(&mut self, dice: &mut Dice, child: &str) {
        let ns1 = format!("ns1.{child}");
        self.add(dice, child, "NS", ns1.clone());
        self.add(dice, &ns1, "A", "10.9.9.9".to_owned());
        if dice.one_in(2) {
            self.ds(dice, child);
        }
    }

    fn wildcard(&mut self, dice: &mut Dice, nth: usize) {
        let owner = match dice.below(4) {
            0 if nth == 0 => self.name("*"),
            1 => self.name(&format!("*.y.w{nth}")),
            2 => self.name(&format!("x.*.w{nth}")),
            _ => self.name(&format!("*.w{nth}")),
        };
        if dice.one_in(3) && !owner.starts_with('x') {
            let target = dice.pick(&self.targets).clone();
            self.add(dice, &owner, "CNAME", target);
        } else {
            self.data(dice, &owner);
        }
        if dice.one_in(2) {
            let beside = self.name(&format!("beside.w{nth}"));
            self.data(dice, &beside);
        }
    }

    fn plain(&mut self, dice: &mut Dice) {
        let mut labels = dice.pick(PLAIN).to_string();
        for _ in 0..dice.below(3) {
            labels = format!("{}.{labels}", dice.pick(PLAIN));
        }
        let owner = self.name(&labels);
        self.data(dice, &owner);
    }

    /// More aliases than anyone follows.
    fn chain(&mut self, dice: &mut Dice) {
        let len = 4 + dice.below(20);
        for nth in 0..len {
            let owner = self.name(&format!("c-chain{nth}"));
            let target = self.name(&format!("c-chain{}", nth + 1));
            self.add(dice, &owner, "CNAME", target);
        }
        let end = self.name(&format!("c-chain{len}"));
        self.data(dice, &end);
    }

    /// One to four sets of records.
    fn data(&mut self, dice: &mut Dice, owner: &str) {
        for _ in 0..=dice.below(4) {
            let target = dice.pick(&self.targets).clone();
            let n = dice.below(100);
            match dice.below(18) {
                0..=2 => self.addresses(dice, owner),
                3 | 4 => self.add(dice, owner, "MX", format!("{n} {target}")),
                5 => {
                    self.add(dice, owner, "MX", format!("{n} {target}"));
                    let second = dice.pick(&self.targets).clone();
                    self.add(dice, owner, "MX", format!("{n} {second}"));
                }
                6 | 7 => {
                    // One in the zone has an address: a lack of it is an error.
                    let here = target.ends_with(&self.origin);
                    let target = if here { self.name("ns1") } else { target };
                    self.add(dice, owner, "SRV", format!("1 {n} 443 {target}"));
                }
                8 | 9 => self.add(dice, owner, "TXT", format!("\"Text {n}\" \"two\"")),
                10 => self.add(dice, owner, "PTR", target),
                11 => self.add(dice, owner, "CAA", format!("0 issue \"ca{n}.example\"")),
                12 => self.add(dice, owner, "HINFO", "\"CPU\" \"os\"".to_owned()),
                13 => self.add(dice, owner, "TYPE65280", format!("\\# 2 00{n:02x}")),
                14 => self.add(dice, owner, "RP", format!("{target} {target}")),
                15 => self.add(dice, owner, "NAPTR", format!("1 {n} \"s\" \"\" \"\" {target}")),
                16 => self.add(dice, owner, "HTTPS", format!("{} {target}", 1 + n)),
                _ => {
                    // More than fits into 512 octets, or into 1,232.
                    for n in 0..20 + 40 * dice.below(2) {
                        let data = format!("10.7.{}.{n}", dice.below(2));
                        self.add(dice, owner, "A", data);
                    }
                }
            }
        }
    }

    fn finish(self, dice: &mut Dice) -> Zone {
        let mut text = String::new();
        let mut names: Vec<String> = Vec::new();
        for (owner, sets) in &self.sets {
            for (rtype, (ttl, all)) in sets {
                for data in all {
                    writeln!(text, "{owner} {ttl} IN {rtype} {data}").unwrap();
                }
            }
            let mut above = owner.as_str();
            while above != self.origin && !names.iter().any(|n| n == above) {
                names.push(above.to_owned());
                above = &above[above.find('.').unwrap() + 1..];
            }
        }
        names.push(self.origin.clone());
        names.extend(self.targets);
        for _ in 0..10 {
            let base = dice.pick(&names).clone();
            names.push(format!("{}.{base}", dice.pick(&["q", "*", "a.b", "w0", "nope", "a.*"])));
        }
        names.push(self.origin.replacen('z', "zz", 1));
        let long = format!("{}.", "l".repeat(60)).repeat(3);
        names.push(format!("{long}{}r0.{}", "m".repeat(30) + ".", self.origin));
        names.retain(|name| name.len() < 250);
        Zone { origin: self.origin, text, names }
    }
}

/// Types that are asked for, those with most to say most often.
const TYPES: &[u16] = &[
    1, 1, 1, 1, 28, 28, 2, 2, 5, 6, 12, 13, 15, 15, 15, 16, 16, 17, 33, 33, 35, 39, 43, 43, 48, 65,
    257, 65_280, 65_281,
];

/// A question about a zone.
pub(super) fn question(dice: &mut Dice, zone: &Zone) -> Question {
    let mut name = dice.pick(&zone.names).clone();
    if dice.one_in(4) {
        name = format!("{}.{name}", dice.pick(&["q", "www", "*", "a.b", "ns", "host"]));
    }
    if dice.one_in(4) {
        name =
            name.chars().map(|c| if dice.one_in(2) { c.to_ascii_uppercase() } else { c }).collect();
    }
    let rtype = if dice.one_in(12) { u16::from(RecordType::ANY) } else { *dice.pick(TYPES) };
    let size = *dice.pick(&[None, Some(512), Some(1232), Some(1232), Some(4096)]);
    Question { name, rtype, size, dnssec_ok: size.is_some() && dice.one_in(4) }
}
