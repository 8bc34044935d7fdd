//! The checks of RFC 8906 section 8, each by itself, asked of NSD as well: a
//! check that NSD fails would be a wrong check.

use std::net::SocketAddr;

use domain::base::Message;
use domain::base::iana::Rtype;
use domain::base::opt::UnknownOptData;

use super::zone_directory;
use crate::fixtures::daemon;
use crate::harness::{Server, tcp, udp};

const ORIGIN: &str = "example.test.";

/// A zone with an answer that does not fit into 512 octets.
fn zone() -> String {
    let mut text = format!(
        "{ORIGIN} 300 SOA ns1.{ORIGIN} hostmaster.{ORIGIN} 1 3600 600 86400 60\n\
         {ORIGIN} 300 NS ns1.{ORIGIN}\nns1.{ORIGIN} 300 A 10.0.0.53\n"
    );
    for n in 0..60 {
        text += &format!("many.{ORIGIN} 300 A 10.0.1.{n}\n");
    }
    text
}

const SOA: u16 = 6;
const AD: u16 = 0x20;
const CD: u16 = 0x10;
const RESERVED: u16 = 0x40;
const RD: u16 = 0x100;
const DO: u16 = 0x8000;

/// The OPT of a question.
#[derive(Clone)]
struct Opt {
    version: u8,
    flags: u16,
    size: u16,
    /// Codes and data.
    options: &'static [(u16, &'static [u8])],
}

const OPT: Opt = Opt { version: 0, flags: 0, size: 1232, options: &[] };

/// A question, and what the answer has to be.
#[derive(Clone)]
struct Check {
    what: &'static str,
    name: &'static str,
    rtype: u16,
    opcode: u16,
    /// Header flags.
    flags: u16,
    opt: Option<Opt>,
    over_tcp: bool,
    rcode: u16,
    authoritative: bool,
    truncated: bool,
    /// Types in the answer section, one each; none when TC is expected.
    answer: &'static [u16],
}

/// The plain question of section 8.1.1, from which all others differ.
const PLAIN: Check = Check {
    what: "8.1.1 configured for this zone",
    name: ORIGIN,
    rtype: SOA,
    opcode: 0,
    flags: 0,
    opt: None,
    over_tcp: false,
    rcode: 0,
    authoritative: true,
    truncated: false,
    answer: &[SOA],
};

/// BADVERS (RFC 6891 section 6.1.3).
const BADVERS: u16 = 16;
/// NOTIMP.
const NOTIMP: u16 = 4;

fn checks() -> Vec<Check> {
    let version = |opt: Opt, what| Check {
        what,
        opt: Some(Opt { version: 1, ..opt }),
        rcode: BADVERS,
        authoritative: false,
        answer: &[],
        ..PLAIN
    };
    let unknown: &[(u16, &[u8])] = &[(100, b"")];
    vec![
        PLAIN,
        Check { what: "8.1.2 unknown type", rtype: 1000, answer: &[], ..PLAIN },
        Check { what: "8.1.3.1 CD", flags: CD, ..PLAIN },
        Check { what: "8.1.3.2 AD", flags: AD, ..PLAIN },
        Check { what: "8.1.3.3 the reserved bit", flags: RESERVED, ..PLAIN },
        Check { what: "8.1.3.4 RD", flags: RD, ..PLAIN },
        Check {
            what: "8.1.4 unknown opcode",
            opcode: 15,
            rcode: NOTIMP,
            authoritative: false,
            answer: &[],
            ..PLAIN
        },
        Check { what: "8.1.5 TCP", over_tcp: true, ..PLAIN },
        Check { what: "8.2.1 minimal EDNS", opt: Some(OPT), ..PLAIN },
        version(OPT, "8.2.2 unknown EDNS version"),
        Check {
            what: "8.2.3 unknown EDNS option",
            opt: Some(Opt { options: unknown, ..OPT }),
            ..PLAIN
        },
        Check { what: "8.2.4 unknown EDNS flag", opt: Some(Opt { flags: 0x40, ..OPT }), ..PLAIN },
        version(Opt { flags: 0x40, ..OPT }, "8.2.5 unknown version and flag"),
        version(Opt { options: unknown, ..OPT }, "8.2.6 unknown version and option"),
        Check {
            what: "8.2.7 truncation",
            name: "many.example.test.",
            rtype: 1,
            opt: Some(Opt { size: 512, ..OPT }),
            truncated: true,
            answer: &[],
            ..PLAIN
        },
        Check { what: "8.2.8 DO", opt: Some(Opt { flags: DO, ..OPT }), ..PLAIN },
        version(Opt { flags: DO, ..OPT }, "8.2.9 unknown version and DO"),
        Check {
            what: "8.2.10 several defined options",
            // NSID, COOKIE, EXPIRE, ECS of 0.0.0.0/0.
            opt: Some(Opt {
                options: &[
                    (3, b""),
                    (10, b"\x01\x02\x03\x04\x05\x06\x07\x08"),
                    (9, b""),
                    (8, b"\0\x01\0\0"),
                ],
                ..OPT
            }),
            ..PLAIN
        },
        Check { what: "TCP with EDNS", over_tcp: true, opt: Some(OPT), ..PLAIN },
        Check {
            what: "NXDOMAIN",
            name: "nope.example.test.",
            rcode: 3,
            opt: Some(OPT),
            answer: &[],
            ..PLAIN
        },
    ]
}

impl Check {
    fn request(&self) -> Vec<u8> {
        let additional = u16::from(self.opt.is_some());
        let flags = self.opcode << 11 | self.flags;
        let mut octets = Vec::new();
        for number in [0x1234, flags, 1, 0, 0, additional] {
            octets.extend(number.to_be_bytes());
        }
        for label in self.name.split_terminator('.') {
            octets.push(label.len() as u8);
            octets.extend(label.as_bytes());
        }
        octets.push(0);
        octets.extend(self.rtype.to_be_bytes());
        octets.extend(1u16.to_be_bytes());
        if let Some(opt) = &self.opt {
            octets.push(0);
            for number in [41, opt.size, u16::from(opt.version), opt.flags] {
                octets.extend(number.to_be_bytes());
            }
            let mut options = Vec::new();
            for (code, data) in opt.options {
                options.extend(code.to_be_bytes());
                options.extend((data.len() as u16).to_be_bytes());
                options.extend(*data);
            }
            octets.extend((options.len() as u16).to_be_bytes());
            octets.extend(options);
        }
        octets
    }

    /// What is wrong with the answer of the server at `at`.
    fn faults(&self, at: SocketAddr) -> Vec<String> {
        let request = self.request();
        let reply = if self.over_tcp { tcp(at, &request) } else { udp(at, &request) };
        let message = Message::from_octets(&reply[..]).expect("a header");
        let number = |at: usize| u16::from_be_bytes([reply[at], reply[at + 1]]);
        let flags = number(2);
        let mut faults = Vec::new();
        let mut expect = |what: &str, expected: String, found: String| {
            if expected != found {
                faults.push(format!("{what} is {found}, not {expected}"));
            }
        };
        expect("the id", 0x1234.to_string(), number(0).to_string());
        expect("QR", true.to_string(), (flags & 0x8000 != 0).to_string());
        expect("the opcode", self.opcode.to_string(), (flags >> 11 & 15).to_string());
        expect("AA", self.authoritative.to_string(), (flags & 0x400 != 0).to_string());
        expect("TC", self.truncated.to_string(), (flags & 0x200 != 0).to_string());
        expect("RD", (self.flags & RD != 0).to_string(), (flags & RD != 0).to_string());
        expect("RA", false.to_string(), (flags & 0x80 != 0).to_string());
        expect("the reserved bit", false.to_string(), (flags & RESERVED != 0).to_string());
        // An unsigned answer proves nothing (RFC 4035 section 3.1.6).
        expect("AD", false.to_string(), (flags & AD != 0).to_string());
        expect(
            "the response code",
            self.rcode.to_string(),
            message.opt_rcode().to_int().to_string(),
        );
        if self.opcode == 0 {
            let question = message.sole_question().expect("the question comes back");
            let found = format!("{}. {}", question.qname(), question.qtype().to_int());
            expect("the question", format!("{} {}", self.name, self.rtype), found);
        }
        if !self.truncated {
            let answer: Vec<u16> = message
                .answer()
                .expect("an answer section")
                .map(|record| record.expect("a record").rtype().to_int())
                .collect();
            expect("the answer", format!("{:?}", self.answer), format!("{answer:?}"));
        }
        expect("OPT", self.opt.is_some().to_string(), message.opt().is_some().to_string());
        if let Some(opt) = message.opt() {
            expect("the EDNS version", 0.to_string(), opt.version().to_string());
            let unknown = opt
                .opt()
                .iter::<UnknownOptData<_>>()
                .flatten()
                .any(|option| option.code().to_int() == 100);
            expect("an option we do not know", false.to_string(), unknown.to_string());
            let raw = message.additional().expect("an additional section");
            let raw = raw.flatten().find(|r| r.rtype() == Rtype::OPT).expect("OPT");
            let unknown_flags = raw.ttl().as_secs() & 0x7fff;
            expect("EDNS flags we do not know", 0.to_string(), unknown_flags.to_string());
        }
        faults
    }
}

#[test]
fn every_check_of_rfc_8906_passes() {
    let text = zone();
    let zones = [(ORIGIN, &*text)];
    let dir = zone_directory(&zones);
    let server = Server::start(dir.path());
    let nsd = daemon::nsd(&zones);
    let mut wrong = Vec::new();
    let checks = checks();
    for check in &checks {
        let all = [("eipdns", Some(server.dns)), ("NSD", nsd.as_ref().map(|nsd| nsd.at))];
        for (who, at) in all {
            let faults = at.map(|at| check.faults(at)).unwrap_or_default();
            wrong.extend(faults.iter().map(|fault| format!("{who}: {}: {fault}", check.what)));
        }
    }
    println!("{} checks of RFC 8906, asked of eipdns and NSD", checks.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
