//! The real question, asked of the real answering code, and its answer as dig prints it.

use std::fmt::Write;
use std::net::SocketAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{DNSClass, RecordType};

use super::{ELSEWHERE, Explanation, Who};
use crate::answer::{Asker, Outcome, Transport, answer, answer_in_view};
use crate::dns::ede::{self, Remark};
use crate::dns::name::Key;
use crate::host::text::one_line;
use crate::records::record_line;
use crate::store::Current;

impl Explanation {
    /// Asks the real question and prints the real answer.
    pub(super) fn ask(&mut self, current: &Current, who: Who, name: &Key, rtype: RecordType) {
        let snapshot = &current.snapshot;
        let mut message = Message::new(0, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.queries.push(Query::query(name.to_name(), rtype));
        message.edns = Some(Edns::new());
        let Ok(request) = message.to_vec() else { return };
        let mut reply = Vec::new();
        let outcome = match who {
            Who::Client { client, local } => {
                let asker = Asker { client: SocketAddr::new(client, 0), local };
                answer(snapshot, &asker, Transport::Tcp, &request, &mut (), &mut reply)
            }
            Who::View(view) => answer_in_view(snapshot, view, &request, &mut (), &mut reply),
        };
        if let Outcome::Ask(question) = outcome {
            self.status = ELSEWHERE.into();
            let asked = question.borrow();
            // Writing to a string does not fail.
            let _ = writeln!(
                self.answer,
                ";; not ours: upstreams are asked for {} {} {}, which explain does not do",
                Key::from_folded(asked.name),
                DNSClass::from(asked.class),
                RecordType::from(asked.rtype),
            );
            if let Some(forwarder) = &current.forwarder {
                let upstreams = forwarder.upstreams_for(asked.name);
                let all: Vec<_> = upstreams.iter().map(ToString::to_string).collect();
                let _ = writeln!(self.answer, ";; upstreams: {}", all.join(" "));
            }
            return;
        }
        let Ok(reply) = Message::from_vec(&reply) else { return };
        self.status = format!("{:?}", reply.metadata.response_code).to_uppercase();
        let rcode = reply.metadata.response_code;
        self.nodata = rcode == ResponseCode::NoError && reply.answers.is_empty();
        self.answer = as_dig(&reply, &self.status);
    }
}

/// A message the way dig prints it.
fn as_dig(message: &Message, status: &str) -> String {
    let mut out = String::new();
    let metadata = &message.metadata;
    let flags = [
        (true, "qr"),
        (metadata.authoritative, "aa"),
        (metadata.truncation, "tc"),
        (metadata.recursion_desired, "rd"),
        (metadata.recursion_available, "ra"),
    ];
    let flags: Vec<_> = flags.iter().filter(|(on, _)| *on).map(|(_, f)| *f).collect();
    // Writing to a string does not fail.
    let _ = writeln!(out, ";; status: {status}; flags: {}", flags.join(" "));
    for option in message.edns.iter().flat_map(|e| e.options().as_ref().iter().map(|(_, o)| o)) {
        if let EdnsOption::Unknown(ede::OPTION, data) = option
            && let Some((code, text)) = Remark::split(data)
        {
            let text = String::from_utf8_lossy(text);
            let text = one_line(&text);
            let _ = writeln!(out, "; EDE: {code}: ({text})");
        }
    }
    let sections = [
        ("ANSWER", &message.answers),
        ("AUTHORITY", &message.authorities),
        ("ADDITIONAL", &message.additionals),
    ];
    for (title, records) in sections {
        if !records.is_empty() {
            let _ = writeln!(out, ";; {title} SECTION:");
        }
        for record in records {
            let _ = writeln!(out, "{}", record_line(record));
        }
    }
    out
}
