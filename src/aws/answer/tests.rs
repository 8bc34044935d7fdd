//! What is spared of reading an answer makes no difference to what it says.

use std::collections::BTreeSet;

use aws_sdk_ec2::config::ConfigBag;
use aws_sdk_ec2::operation::describe_addresses::{DescribeAddresses, DescribeAddressesOutput};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::runtime_plugin::RuntimePlugin;
use aws_smithy_runtime_api::client::ser_de::{DeserializeResponse, SharedResponseDeserializer};
use aws_smithy_types::body::SdkBody;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::items::{self, Before, Digests, Item as Octets, Sum, is_whole};
use super::memory::Reader;
use super::*;
use eipdns::source::usable::LeftOut;

/// What the SDK's reader alone makes of an answer.
fn by_the_sdk(body: &[u8]) -> Result<Described, ()> {
    let sdk = DescribeAddresses::new().config().unwrap();
    let sdk = sdk.load::<SharedResponseDeserializer>().unwrap();
    let read = sdk.deserialize_nonstreaming_with_config(&response(body), &ConfigBag::base());
    let read = read.map_err(drop)?.downcast::<DescribeAddressesOutput>().unwrap();
    let items = read.addresses.ok_or(())?.into_iter().map(judged);
    Ok(described(items.collect::<Result<_, _>>().map_err(drop)?))
}

fn response(body: &[u8]) -> HttpResponse {
    HttpResponse::new(200.try_into().unwrap(), SdkBody::from(body.to_vec()))
}

/// The items of an answer of which nothing is known.
fn split(body: &[u8], digests: Digests) -> Option<Vec<Octets<'_>>> {
    items::split(body, digests, &Before::default())
}

/// A caller, and what it has said.
#[derive(Default)]
struct Caller {
    memory: Memory,
    said: Option<Described>,
}

impl Caller {
    fn hear(&mut self, body: &[u8]) -> Result<Described, ()> {
        let reading = self.memory.reading();
        let reader = Reader::before_the_sdk(reading.clone()).unwrap();
        let read = reader.deserialize_nonstreaming_with_config(&response(body), &ConfigBag::base());
        let read = read.map_err(drop)?.downcast::<DescribeAddressesOutput>().unwrap();
        let heard = self.memory.take(reading.finish(read).map_err(drop)?);
        if heard != Described::Equal {
            self.said = Some(heard.clone());
        }
        Ok(heard)
    }
}

/// What an answer says, whatever its order.
fn content(said: &Described) -> (BTreeSet<String>, LeftOut) {
    let Described::New { addresses, left_out } = said else { panic!("equal to nothing") };
    // Which entries are shown first is a matter of order.
    let left_out = LeftOut { first: Vec::new(), ..left_out.clone() };
    (addresses.iter().map(|address| format!("{address:?}")).collect(), left_out)
}

fn is_equal(heard: Result<Described, ()>) -> bool {
    heard == Ok(Described::Equal)
}

/// An item as EC2 writes it, with these tags.
fn item(n: u8, association: u8, tags: &[(&str, &str)]) -> String {
    let tag = |(key, value): &(&str, &str)| {
        format!("    <item>\n  <key>{key}</key>\n  <value>{value}</value>\n </item>\n")
    };
    format!(
        "<item>\n    <publicIp>75.101.137.{n}</publicIp>\n    \
         <allocationId>eipalloc-{n}</allocationId>\n    <domain>vpc</domain>\n    \
         <instanceId/>\n    \
         <associationId>eipassoc-{association}</associationId>\n    \
         <privateIpAddress>10.0.0.{association}</privateIpAddress>\n    \
         <tagSet>\n{}    </tagSet>\n</item>\n",
        tags.iter().map(tag).collect::<String>()
    )
}

fn answer(request: u32, items: &[String]) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <DescribeAddressesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\n    \
         <requestId>{request:08x}-7f</requestId>\n    <addressesSet>\n{}    </addressesSet>\n\
         </DescribeAddressesResponse>\n",
        items.concat()
    )
}

#[test]
fn order_of_items_and_tags_and_the_request_id_make_no_difference() {
    let tags = [("Name", "db"), ("Role", "a &amp; b"), ("Empty", "")];
    let other_order = [tags[2], tags[0], tags[1]];
    let (one, two) = (item(1, 1, &tags), item(2, 2, &[]));
    let mut caller = Caller::default();
    let first = caller.hear(answer(1, &[one.clone(), two.clone()]).as_bytes()).unwrap();
    assert_eq!(
        content(&first),
        content(&by_the_sdk(answer(1, &[one.clone(), two.clone()]).as_bytes()).unwrap())
    );
    for again in [
        answer(1, &[one.clone(), two.clone()]),
        answer(2, &[one.clone(), two.clone()]),
        answer(3, &[two.clone(), one.clone()]),
        answer(4, &[two.clone(), item(1, 1, &other_order)]),
    ] {
        assert!(is_equal(caller.hear(again.as_bytes())), "{again}");
    }
    // Everything else does.
    for other in [
        vec![one.clone()],
        vec![one.clone(), two.clone()],
        vec![one.clone(), two.clone(), two.clone()],
        vec![item(1, 1, &[("Name", "db"), ("Role", "a &amp; c")]), two.clone()],
        vec![item(1, 1, &[("Name", "db"), ("role", "a &amp; c")]), two.clone()],
        vec![item(1, 1, &[("Name", "db")]), two.clone()],
        vec![item(1, 3, &[("Name", "db")]), two.clone()],
        vec![],
    ] {
        let other = answer(5, &other);
        let heard = caller.hear(other.as_bytes()).unwrap();
        assert_eq!(content(&heard), content(&by_the_sdk(other.as_bytes()).unwrap()), "{other}");
        assert!(is_equal(caller.hear(other.as_bytes())), "{other}");
    }
}

/// EC2 has no key twice; the last one would count.
#[test]
fn of_tags_with_one_key_the_order_counts() {
    for [a, b] in [[("k", "1"), ("k", "2")], [("&#107;", "1"), ("k", "2")]] {
        let of = |tags: [(&str, &str); 2]| answer(1, &[item(1, 1, &tags)]);
        let mut caller = Caller::default();
        let first = caller.hear(of([a, b]).as_bytes()).unwrap();
        let second = caller.hear(of([b, a]).as_bytes()).unwrap();
        assert_ne!(content(&first), content(&second));
    }
}

#[test]
fn only_what_is_new_is_read_and_the_rest_is_the_same_memory() {
    let mut caller = Caller::default();
    let all = |last: u8| (1..=5).map(|n| item(n, if n == 3 { last } else { n }, &[])).collect();
    let addresses = |heard| match heard {
        Ok(Described::New { addresses, .. }) => addresses,
        other => panic!("{other:?}"),
    };
    let first: Vec<String> = all(3);
    let first = addresses(caller.hear(answer(1, &first).as_bytes()));
    let second: Vec<String> = all(4);
    let second = addresses(caller.hear(answer(1, &second).as_bytes()));
    let shared = first.iter().zip(&second).map(|(a, b)| Arc::ptr_eq(a, b));
    assert_eq!(shared.collect::<Vec<_>>(), [true, true, false, true, true]);
}

/// A carrier address is known by its id, and what is as it was is the same memory.
#[test]
fn an_address_without_a_public_one_is_remembered_as_any_other() {
    let carrier =
        |association| item(2, association, &[("Name", "edge")]).replace("publicIp", "carrierIp");
    let of = |association| answer(1, &[item(1, 1, &[]), carrier(association)]);
    let mut caller = Caller::default();
    let Ok(Described::New { addresses: first, left_out }) = caller.hear(of(2).as_bytes()) else {
        panic!("the first one")
    };
    let all: Vec<_> = first.iter().map(|address| address.allocation().to_string()).collect();
    assert_eq!((all, left_out.count), (vec!["75.101.137.1".into(), "eipalloc-2".into()], 0));
    assert!(is_equal(caller.hear(of(2).as_bytes())));
    let Ok(Described::New { addresses: second, .. }) = caller.hear(of(3).as_bytes()) else {
        panic!("a move")
    };
    assert!(Arc::ptr_eq(&first[0], &second[0]) && first[1] != second[1]);
    // What is wrong with it is its own affair, and read once.
    let bad = of(3).replace("<carrierIp>75", "<carrierIp>x75");
    let Ok(Described::New { addresses: third, left_out }) = caller.hear(bad.as_bytes()) else {
        panic!("something new")
    };
    assert_eq!((third.len(), left_out.unknown), (1, ["eipalloc-2".parse().unwrap()].into()));
    assert!(is_equal(caller.hear(bad.as_bytes())));
}

/// Of two tries only the answer of the one that counts is the last one.
#[test]
fn an_answer_that_is_not_taken_is_forgotten() {
    let (one, two) = (answer(1, &[item(1, 1, &[])]), answer(1, &[item(1, 2, &[])]));
    let mut caller = Caller::default();
    caller.hear(one.as_bytes()).unwrap();
    let lost = caller.memory.reading();
    let read = Reader::before_the_sdk(lost.clone()).unwrap();
    let read =
        read.deserialize_nonstreaming_with_config(&response(two.as_bytes()), &ConfigBag::base());
    drop(lost.finish(read.unwrap().downcast().unwrap()).unwrap());
    assert!(is_equal(caller.hear(one.as_bytes())));
    assert!(!is_equal(caller.hear(two.as_bytes())));
}

/// Those are read by the SDK alone, each time.
#[test]
fn what_is_not_understood_is_never_equal() {
    let whole = answer(1, &[item(1, 1, &[("Name", "db")])]);
    let mut caller = Caller::default();
    caller.hear(whole.as_bytes()).unwrap();
    for (what, by) in [
        ("<addressesSet>", "<addressesSet><!-- none -->"),
        ("<key>Name</key>", "<key><![CDATA[Name]]></key>"),
        ("<key>Name</key>", "<key a=\"b\">Name</key>"),
        ("<key>Name</key>", "<key>Na<b/>me</key>"),
        ("<instanceId/>", "<instanceId /><!---->"),
        ("<instanceId/>", "<placement><zone>a</zone></placement>"),
        ("<instanceId/>", "<tagSet/>"),
        ("<instanceId/>", "<e:instanceId/>"),
        ("</addressesSet>", "</addressesSet><addressesSet/>"),
        ("</addressesSet>", "</addressesSet><addressesSet> </addressesSet>"),
        ("<value>db", "<value>d]]>b"),
        ("<value>db", "<value>d\u{1}b"),
        ("<value>db", "<value>d\u{FFFE}b"),
        ("<requestId>", "<requestId><?pi?>"),
        ("?>", " standalone=\"yes\"?>"),
        ("</DescribeAddressesResponse>\n", "</DescribeAddressesResponse><!-- -->"),
        ("</DescribeAddressesResponse>\n", "</DescribeAddressesResponse"),
        ("    </addressesSet>\n</Desc", "</Desc"),
    ] {
        let body = whole.replacen(what, by, 1);
        assert_ne!(body, whole, "{what}");
        assert_eq!(split(body.as_bytes(), Digests::default()), None, "{body}");
        let (heard, sdk) = (caller.hear(body.as_bytes()), by_the_sdk(body.as_bytes()));
        let expected = sdk.ok().filter(|_| is_well_formed(body.as_bytes()));
        assert_eq!(heard.as_ref().ok().map(content), expected.as_ref().map(content), "{body}");
        assert!(!is_equal(heard));
    }
    // Nothing is known of the answer before that one.
    assert!(!is_equal(caller.hear(whole.as_bytes())));
    assert!(is_equal(caller.hear(whole.as_bytes())));
    // And no status but the one of an answer counts.
    let reading = caller.memory.reading();
    let reader = Reader::before_the_sdk(reading.clone()).unwrap();
    let other = HttpResponse::new(203.try_into().unwrap(), SdkBody::from(whole));
    let read = reader.deserialize_nonstreaming_with_config(&other, &ConfigBag::base()).unwrap();
    let heard = caller.memory.take(reading.finish(read.downcast().unwrap()).unwrap());
    assert_ne!(heard, Described::Equal);
}

/// Characters that XML knows by other names, or not at all, and some of two to four octets.
const SPECIAL: [&str; 11] =
    ["&amp;", "&lt;", "&#107;", "&#xD;", "&bad;", "&", ">", "ä", "名", "｡", "🦀"];

fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[a-zA-Z0-9 ._:/@+=-]{0,6}",
        1 => select(&SPECIAL[..]).prop_map(str::to_owned),
    ];
    proptest::collection::vec(part, 0..3).prop_map(|parts| parts.concat())
}

/// An item, of few addresses and associations, so that they come again.
fn any_item() -> impl Strategy<Value = String> {
    let known = select(vec!["Name", "Role", "k", "&#107;"]).prop_map(str::to_owned);
    let key = prop_oneof![3 => known, 1 => text()];
    let tags = proptest::collection::vec((key, text()), 0..4);
    let gap = select(vec!["", "\n", "  ", "\r\n\t"]);
    let kind = select(vec!["publicIp", "publicIp", "carrierIp", "customerOwnedIp"]);
    let which = (1..6u8, 0..4u8, kind);
    (which, tags, gap, any::<bool>()).prop_map(|((n, association, kind), tags, gap, spaced)| {
        let tags: Vec<_> = tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let item = item(n, association, &tags).replace("publicIp", kind);
        // 10.0.0.0 is a host's, but 0.0.0.0 is nobody's.
        let item = if association == 3 { item.replace("10.0.0.3", "0.0.0.0") } else { item };
        let item = if spaced { item } else { item.replace('\n', "").replace("  ", "") };
        format!("{item}{gap}")
    })
}

/// What is done to an answer on its way.
#[derive(Debug, Clone)]
enum Harm {
    None,
    /// It ends there.
    Cut(Index),
    /// That many octets are missing there.
    Gap(Index, usize),
    /// These stand there besides.
    Put(Index, &'static str),
    /// A part of it stands in another place.
    Move(Index, Index, usize),
}

fn harm() -> impl Strategy<Value = Harm> {
    let pieces = vec![
        "<!-- -->",
        "<![CDATA[x]]>",
        "&bad;",
        "]]>",
        "\u{1}",
        "\u{FFFE}",
        "<item/>",
        "<item>",
        "</item>",
        "<tagSet/>",
        "<addressesSet/>",
        "<addressesSet></addressesSet>",
        "<a/>",
        "<a>",
        "</a>",
        "<a b=\"c\"/>",
        "<key>k</key>",
        " ",
        ">",
        "<",
        "\"",
        "<publicIp>75.101.137.9</publicIp>",
    ];
    let at = any::<Index>;
    prop_oneof![
        6 => Just(Harm::None),
        1 => at().prop_map(Harm::Cut),
        1 => (at(), 1..60usize).prop_map(|(at, len)| Harm::Gap(at, len)),
        3 => (at(), select(pieces)).prop_map(|(at, piece)| Harm::Put(at, piece)),
        1 => (at(), at(), 1..80usize).prop_map(|(from, to, len)| Harm::Move(from, to, len)),
    ]
}

impl Harm {
    fn done_to(&self, body: &str) -> String {
        let place = |at: &Index| {
            let at = at.index(body.len() + 1);
            (at..=body.len()).find(|at| body.is_char_boundary(*at)).unwrap()
        };
        let after = |at: usize, len: usize| {
            (at + len..body.len()).find(|at| body.is_char_boundary(*at)).unwrap_or(body.len())
        };
        match self {
            Harm::None => body.to_owned(),
            Harm::Cut(at) => body[..place(at)].to_owned(),
            Harm::Gap(at, len) => {
                let at = place(at);
                [&body[..at], &body[after(at, *len)..]].concat()
            }
            Harm::Put(at, piece) => {
                let (before, rest) = body.split_at(place(at));
                [before, piece, rest].concat()
            }
            Harm::Move(from, to, len) => {
                let (from, to) = (place(from), place(to));
                let piece = &body[from..after(from, *len)];
                let (before, rest) = body.split_at(to);
                [before, piece, rest].concat()
            }
        }
    }
}

/// What comes next.
#[derive(Debug, Clone)]
enum Step {
    /// Other items.
    Items(Vec<String>),
    /// One of them is another.
    Change(Index, String),
    /// The same ones in another order.
    Shuffle(u64),
    Again,
}

fn steps() -> impl Strategy<Value = Vec<(Step, Harm)>> {
    let step = prop_oneof![
        1 => proptest::collection::vec(any_item(), 0..6).prop_map(Step::Items),
        2 => (any::<Index>(), any_item()).prop_map(|(at, item)| Step::Change(at, item)),
        2 => any::<u64>().prop_map(Step::Shuffle),
        2 => Just(Step::Again),
    ];
    proptest::collection::vec((step, harm()), 1..12)
}

/// Sorted by a number of each that is different for every seed.
fn shuffle(items: &mut [String], seed: u64) {
    let rank = |at: usize| (at as u64 + 1).wrapping_mul(seed | 1).rotate_left(29);
    let mut ranked: Vec<_> = items.iter().cloned().enumerate().collect();
    ranked.sort_by_key(|(at, _)| rank(*at));
    items.iter_mut().zip(ranked).for_each(|(item, (_, ranked))| *item = ranked);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(4096),
        ..ProptestConfig::default()
    })]

    /// Whatever comes, in whatever order, whole or harmed: what is known afterwards is
    /// what the SDK reads of the last good answer.
    #[test]
    fn what_is_spared_makes_no_difference(steps in steps()) {
        let mut caller = Caller::default();
        let mut items: Vec<String> = Vec::new();
        let mut known = None;
        for (request, (step, harm)) in steps.iter().enumerate() {
            match step {
                Step::Items(new) => items.clone_from(new),
                Step::Change(at, new) if !items.is_empty() => {
                    let at = at.index(items.len());
                    items[at].clone_from(new);
                }
                Step::Shuffle(seed) => shuffle(&mut items, *seed),
                Step::Change(..) | Step::Again => {}
            }
            let body = harm.done_to(&answer(request as u32, &items));
            let (heard, sdk) = (caller.hear(body.as_bytes()), by_the_sdk(body.as_bytes()));
            // What the SDK has not read to its end is no answer.
            let is_well_formed = is_well_formed(body.as_bytes());
            prop_assert_eq!(heard.is_ok(), sdk.is_ok() && is_well_formed, "{}", body);
            if let (Ok(_), Ok(sdk)) = (&heard, &sdk) {
                let said = caller.said.as_ref().unwrap();
                prop_assert_eq!(content(said), content(sdk), "{}", body);
            }
            // A cut answer is refused elsewhere, but never taken for the last one.
            prop_assert!(is_whole(body.as_bytes()) || !is_equal(heard.clone()));
            // The same items are recognised, in whatever order.
            let mut sorted = items.clone();
            sorted.sort();
            let is_again = matches!(harm, Harm::None) && known.as_ref() == Some(&sorted);
            prop_assert!(!is_again || heard.is_err() || is_equal(heard.clone()), "{}", body);
            let is_understood = split(body.as_bytes(), Digests::default()).is_some();
            prop_assert!(is_well_formed || !is_understood, "{}", body);
            if heard.is_ok() {
                known = (matches!(harm, Harm::None) && is_understood).then_some(sorted);
            }
        }
    }

    /// An item is known by what it says, and an answer by its items.
    #[test]
    fn digests_tell_items_apart(
        mut items in proptest::collection::vec(any_item(), 1..6),
        seed in any::<u64>(),
    ) {
        let digests = Digests::default();
        let (text, shuffled) = (answer(1, &items), {
            shuffle(&mut items, seed);
            answer(2, &items)
        });
        let (one, other) = (split(text.as_bytes(), digests), split(shuffled.as_bytes(), digests));
        prop_assert_eq!(one.is_some(), other.is_some());
        if let (Some(one), Some(other)) = (one, other) {
            let octets = |items: &[Octets<'_>]| -> BTreeSet<_> {
                items.iter().map(|item| item.octets.to_vec()).collect()
            };
            prop_assert_eq!(octets(&one), octets(&other));
            prop_assert_eq!(Sum::of(&one), Sum::of(&other));
            prop_assert_ne!(Sum::of(&one), Sum::of(&one[1..]));
            // What stands where it stood is not taken apart, and is the same.
            let known = [Before::of(&one), Before::of(&one[1..]), Before::of(&other)];
            for known in known {
                prop_assert_eq!(items::split(text.as_bytes(), digests, &known), Some(one.clone()));
            }
            let other_key = split(shuffled.as_bytes(), Digests::default()).unwrap();
            prop_assert_ne!(Sum::of(&other_key), Sum::of(&one));
        }
    }
}
