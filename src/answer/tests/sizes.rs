//! A reply keeps to its size, whatever that is.

use std::borrow::Cow;

use super::*;
use crate::answer::request::Request;
use crate::dns::ede::Remark;
use crate::dns::opt::OPT_LEN;
use crate::dns::wire::{HEADER, TYPE_AND_CLASS};

/// Who puts something behind a reply, a signature perhaps, gives a smaller size. Then
/// remarks go first, and after them whole RRsets, with TC; the OPT never does.
#[test]
fn room_that_is_reserved_is_left_and_the_opt_is_never_what_is_cut() {
    let hosts: String = (1..=20).map(|n| format!("many A 10.0.0.{n}\n")).collect();
    let config = testing::config(&[
        ("server.toml", SERVER),
        ("example.com.toml", "records = \"example.com.zone\"\n"),
        ("example.com.zone", &format!("alias CNAME many\n{hosts}")),
    ]);
    let snapshot = testing::snapshot(&config, &testing::inventory(&[]));
    let (name, rtype) = ("alias.example.com.", RecordType::A);
    for edns in [None, Some(512)] {
        let octets = octets(name, rtype, edns);
        let request = Request::read(&octets).unwrap();
        let written = |size: usize| {
            let mut builder = ReplyBuilder::new(&request, size);
            builder.take(lookup::find(&snapshot.views[0], request.name(), rtype));
            builder.remarks.push(Cow::Owned(Remark::new(ede::STALE, "old")));
            let mut reply = Vec::new();
            assert_eq!(builder.write(&mut reply), ResponseCode::NoError);
            assert!(reply.len() <= size, "{} octets in {size}", reply.len());
            Message::from_vec(&reply).unwrap()
        };
        let least = HEADER + name.len() + 1 + TYPE_AND_CLASS + edns.map_or(0, |_| OPT_LEN);
        // By how much of the answer is there: none, the alias, all of it.
        let mut sizes = std::collections::BTreeMap::<_, usize>::new();
        for size in least..=600 {
            let message = written(size);
            let options = message.edns.as_ref().map(|edns| edns.options().as_ref().len());
            assert_eq!(options.is_some(), edns.is_some(), "{size}");
            let count = message.answers.len();
            assert_eq!(message.metadata.truncation, count < 21, "{size}");
            assert!(matches!(count, 0 | 1 | 21), "{size}: {count} records");
            sizes.entry((count, options.unwrap_or(0))).or_insert(size);
        }
        // An alias takes 19 octets, an address 16, a remark 9.
        let all = least + 19 + 20 * 16;
        let mut expected = vec![((0, 0), least), ((1, 0), least + 19), ((21, 0), all)];
        if edns.is_some() {
            expected.push(((21, 1), all + 9));
        }
        assert_eq!(sizes.into_iter().collect::<Vec<_>>(), expected);
    }
}
