//! Records as text, and an upstream that knows just those.

use std::collections::HashMap;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::upstream::{Answer, Asked};

/// Reads "name TTL type data".
pub(super) fn record(line: &str) -> Record {
    let fields: Vec<_> = line.splitn(4, ' ').collect();
    let [name, ttl, rtype, data] = fields[..] else { panic!("{line}: name TTL type data") };
    let data = RData::try_from_str(rtype.parse().unwrap(), data).unwrap();
    Record::from_rdata(Name::from_ascii(name).unwrap(), ttl.parse().unwrap(), data)
}

/// What a resolver that knows only these records says; everything it denies is
/// of a zone "test.".
pub(super) fn knows(lines: &[&str]) -> impl Fn(&Asked) -> Answer + Send + Sync + 'static {
    let mut all: HashMap<String, Vec<Record>> = HashMap::new();
    for record in lines.iter().map(|line| record(line)) {
        all.entry(record.name.to_ascii().to_lowercase()).or_default().push(record);
    }
    move |asked| {
        let mut message = asked.reply();
        let mut name = asked.name();
        loop {
            let Some(records) = all.get(&name) else {
                message.metadata.response_code = ResponseCode::NXDomain;
                break;
            };
            let of = |rtype| records.iter().filter(move |r| r.record_type() == rtype).cloned();
            let found = message.answers.len();
            message.answers.extend(of(asked.rtype()));
            if message.answers.len() > found {
                return message.into();
            }
            let Some(alias) = of(RecordType::CNAME).next() else { break };
            let RData::CNAME(target) = &alias.data else { break };
            name = target.to_ascii().to_lowercase();
            message.answers.push(alias);
        }
        message.authorities.push(record("test. 60 SOA ns.test. host.test. 7 60 60 60 30"));
        message.into()
    }
}
