//! The same random zones on NSD, Knot, BIND and eipdns: whatever those three
//! agree on, eipdns says too.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Instant;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};

use super::dice::Dice;
use super::said::Said;
use super::world::{self, Question, Zone};
use super::zone_directory;
use crate::fixtures::daemon;
use crate::harness::{PATIENCE, Server};

/// How many zones of the first kind; children come on top.
const ZONES: usize = 40;
/// How many questions about each.
const QUESTIONS: usize = 400;
/// One question in so many goes over TCP from the start.
const TCP_SHARE: usize = 5;
/// How many differences in the same parts are shown in full.
const SHOWN: usize = 5;

/// A server to ask, over connections that are kept.
struct Asked {
    at: SocketAddr,
    udp: UdpSocket,
    tcp: Option<TcpStream>,
}

impl Asked {
    fn new(at: SocketAddr) -> Self {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.connect(at).unwrap();
        udp.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { at, udp, tcp: None }
    }

    fn over_udp(&self, octets: &[u8]) -> Said {
        self.udp.send(octets).unwrap();
        let mut reply = vec![0; 65_535];
        let len = self.udp.recv(&mut reply).expect("a reply");
        Said::read(&reply[..len])
    }

    fn over_tcp(&mut self, octets: &[u8]) -> Said {
        // The other side may have closed a connection that was idle.
        let reply = match self.tcp.take().map(|stream| exchange(stream, octets)) {
            Some(Ok(done)) => done,
            _ => exchange(TcpStream::connect(self.at).unwrap(), octets).expect("a reply"),
        };
        self.tcp = Some(reply.0);
        Said::read(&reply.1)
    }
}

fn exchange(mut stream: TcpStream, octets: &[u8]) -> io::Result<(TcpStream, Vec<u8>)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut framed = (octets.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(octets);
    stream.write_all(&framed)?;
    let mut len = [0; 2];
    stream.read_exact(&mut len)?;
    let mut reply = vec![0; u16::from_be_bytes(len).into()];
    stream.read_exact(&mut reply)?;
    Ok((stream, reply))
}

impl Question {
    fn octets(&self) -> Vec<u8> {
        let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
        let name = Name::from_ascii(&self.name).unwrap();
        message.queries.push(Query::query(name, RecordType::from(self.rtype)));
        message.edns = self.size.map(|size| {
            let mut edns = Edns::new();
            edns.set_max_payload(size).set_dnssec_ok(self.dnssec_ok);
            edns
        });
        message.to_vec().unwrap()
    }
}

/// What was counted.
#[derive(Default)]
struct Tally {
    questions: usize,
    over_tcp: usize,
    /// Questions all of whose parts the three agree on.
    unanimous: usize,
    /// Part: how often the three agree, and how often we then differ.
    parts: BTreeMap<&'static str, (usize, usize)>,
    /// Differences by the parts in which they are.
    shown: BTreeMap<String, Vec<String>>,
}

#[test]
fn where_nsd_knot_and_bind_agree_so_do_we() {
    Dice::seeds().into_iter().for_each(agree);
}

/// All questions about the zones of one seed.
fn agree(seed: u64) {
    let mut dice = Dice::new(seed);
    let zones = world::zones(&mut dice, ZONES);
    let texts: Vec<(&str, &str)> = zones.iter().map(|z| (&*z.origin, &*z.text)).collect();
    let (Some(nsd), Some(knot), Some(bind)) =
        (daemon::nsd(&texts), daemon::knot(&texts), daemon::bind(&texts))
    else {
        return;
    };
    let dir = zone_directory(&texts);
    let ours = Server::start_with(dir.path(), |command| {
        command.env("EIPDNS_LOG", "info");
    });
    let mut asked = [nsd.at, knot.at, bind.at, ours.dns].map(Asked::new);
    for zone in &zones {
        everybody_has(zone, &asked);
    }
    let begin = Instant::now();
    let mut tally = Tally::default();
    for zone in &zones {
        for _ in 0..QUESTIONS {
            let question = world::question(&mut dice, zone);
            let over_tcp = dice.one_in(TCP_SHARE);
            tally.compare(&question, over_tcp, &mut asked);
        }
    }
    println!(
        "seed {seed}: {} zones, {} questions ({} over TCP), {} unanimous in all parts, in {:.1?}",
        zones.len(),
        tally.questions,
        tally.over_tcp,
        tally.unanimous,
        begin.elapsed()
    );
    let mut different = 0;
    for (part, (agreed, differ)) in &tally.parts {
        println!("  {part:<10} the three agree {agreed:>6} times, eipdns differs {differ} times");
        different += differ;
        assert!(*agreed > tally.questions / 3, "{part}: too little is compared");
    }
    let shown: Vec<_> = tally.shown.into_values().flatten().collect();
    assert_eq!(different, 0, "seed {seed}\n{}", shown.join("\n"));
}

/// A zone that one of them did not load would make all agreement worthless.
fn everybody_has(zone: &Zone, asked: &[Asked; 4]) {
    let question = Question {
        name: zone.origin.clone(),
        rtype: RecordType::SOA.into(),
        size: None,
        dnssec_ok: false,
    };
    for (server, who) in asked.iter().zip(["NSD", "Knot", "BIND", "eipdns"]) {
        let said = server.over_udp(&question.octets());
        assert!(
            said.authoritative && said.answer.len() == 1,
            "{who} does not have {}: {said}\n{}",
            zone.origin,
            zone.text
        );
    }
}

impl Tally {
    fn compare(&mut self, question: &Question, over_tcp: bool, asked: &mut [Asked; 4]) {
        let octets = question.octets();
        let said: Vec<Said> = asked
            .iter_mut()
            .map(|server| match over_tcp {
                true => server.over_tcp(&octets),
                false => server.over_udp(&octets),
            })
            .collect();
        self.questions += 1;
        self.over_tcp += usize::from(over_tcp);
        let [nsd, knot, bind, ours] = &said[..] else { unreachable!("four are asked") };
        self.unanimous += usize::from(nsd == knot && knot == bind);
        // Which RRset answers ANY is the server's choice (RFC 8482 section
        // 4.1), and with it whether that fits.
        let is_own_choice = question.rtype == u16::from(RecordType::ANY) && nsd.truncated;
        // What follows the answer depends on how far a chain was followed: the
        // same for other reasons is no agreement.
        let answered = |said: &Said| (said.rcode, said.answer.clone());
        let same_answer = answered(nsd) == answered(knot) && answered(knot) == answered(bind);
        let same_extent = nsd.truncated == knot.truncated && knot.truncated == bind.truncated;
        let same_authority = nsd.authority == knot.authority && knot.authority == bind.authority;
        let is_alias = |line: &String| line.contains(" CNAME ") || line.contains(" DNAME ");
        let leads_on = !nsd.answer.is_empty() && nsd.answer.iter().all(is_alias);
        let mut wrong = Vec::new();
        let theirs = nsd.parts().into_iter().zip(knot.parts()).zip(bind.parts());
        for (((nsd, knot), bind), ours) in theirs.zip(ours.parts()) {
            let is_compared = match ours.0 {
                "TC" => !is_own_choice && same_answer && (same_authority || !leads_on),
                "authority" | "additional" => !is_own_choice && same_answer && same_extent,
                "answer" => !is_own_choice,
                _ => true,
            };
            if !is_compared {
                continue;
            }
            let (agreed, differ) = self.parts.entry(ours.0).or_default();
            if nsd == knot && knot == bind {
                *agreed += 1;
                if ours != nsd {
                    *differ += 1;
                    wrong.push(ours.0);
                }
            }
        }
        if !wrong.is_empty() {
            let shown = self.shown.entry(wrong.join(" ")).or_default();
            if shown.len() == SHOWN {
                return;
            }
            let Question { name, rtype, size, dnssec_ok } = question;
            let rtype = RecordType::from(*rtype);
            let how = if over_tcp { "TCP" } else { "UDP" };
            shown.push(format!(
                "{name} {rtype} {how} size {size:?} DO {dnssec_ok}: {wrong:?}\n\
                 \x20 NSD    {nsd}\n  Knot   {knot}\n  BIND   {bind}\n  eipdns {ours}"
            ));
        }
    }
}
