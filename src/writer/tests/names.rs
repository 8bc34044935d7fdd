//! Names from tags, over restarts and reloads, held, lost and let go.

use super::*;
use crate::answer::answer_in_view;
use crate::dns::name::Key;
use crate::snapshot::Data;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::RecordType;

const TWO: &str = "[[source]]\nname = \"east\"\ntype = \"ec2\"\nregion = \"us-east-1\"\n\
    [[source]]\nname = \"west\"\ntype = \"ec2\"\nregion = \"us-west-2\"\n";
const DISCOVER: &str = "[discover]\ntag = \"dns-name\"\nhold = \"30s\"\n";
const EAST: SourceId = 0;
const WEST: SourceId = 1;

fn config(zone: &str) -> Arc<Config> {
    let before = testing::SERVER.find("[[source]]").unwrap();
    let view = testing::SERVER.find("[[view]]").unwrap();
    let server = format!("{}{TWO}{}", &testing::SERVER[..before], &testing::SERVER[view..]);
    Arc::new(testing::config(&[("server.toml", server.as_str()), ("example.com.toml", zone)]))
}

/// Elastic IPs, and private addresses, by their last octets, and tags.
type Said<'s> = &'s [(u8, u8, &'s str)];

fn tagged(said: Said<'_>) -> Addresses {
    let plain: Vec<(u8, u8)> =
        said.iter().map(|(public, private, _)| (*public, *private)).collect();
    let with = |(address, (.., tag)): (Arc<Address>, &(u8, u8, &str))| {
        let tags = [("dns-name".to_owned(), (*tag).to_owned())].into();
        Arc::new(Address { tags, ..Address::clone(&address) })
    };
    addresses(&plain).into_iter().zip(said).map(with).collect()
}

/// A good answer, `seconds` from now.
fn good(writer: &Writer, source: SourceId, seconds: u64, said: Said<'_>) -> Delivery {
    let plain = delivery(writer, Some(&[]));
    let region = ["us-east-1", "us-west-2"].get(source).map(|region| (*region).to_owned());
    let at = plain.at + Duration::from_secs(seconds);
    Delivery { source, at, region, answer: Ok(tagged(said).into()), ..plain }
}

fn says(writer: &mut Writer, source: SourceId, seconds: u64, said: Said<'_>) {
    let delivery = good(writer, source, seconds, said);
    writer.take(source, &delivery).unwrap();
}

/// The last octet of what a name is answered with in the first view.
fn address(writer: &Writer, name: &str) -> Option<u8> {
    let current = writer.store().full();
    let zone = current.snapshot.views[0].zones.values().next().unwrap();
    let name = Key::parse(name, Some(&zone.zone.origin)).unwrap();
    match &zone.resolved.get(name.octets())?.data {
        Data::Addresses(all) => match all[..] {
            [std::net::IpAddr::V4(ip)] => Some(ip.octets()[3]),
            _ => panic!("{all:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn asked(writer: &Writer, name: &str) -> (ResponseCode, usize) {
    let mut message = Message::new(1, MessageType::Query, OpCode::Query);
    message.queries.push(Query::query(name.parse().unwrap(), RecordType::A));
    let current = writer.store().full();
    let mut reply = Vec::new();
    answer_in_view(&current.snapshot, 0, &message.to_vec().unwrap(), &mut (), &mut reply);
    let reply = Message::from_vec(&reply).unwrap();
    (reply.metadata.response_code, reply.answers.len())
}

fn restarted(of: &Writer, config: &Arc<Config>) -> Writer {
    writer(config, of.state())
}

#[test]
fn a_name_that_is_held_stays_over_restarts_and_reloads_until_its_time() {
    let config = config(DISCOVER);
    let mut writer = self::writer(&config, State::default());
    says(&mut writer, WEST, 0, &[]);
    says(&mut writer, EAST, 0, &[(1, 1, "db"), (2, 2, "web")]);
    assert_eq!((address(&writer, "db"), address(&writer, "web")), (Some(1), Some(2)));
    let gone: Said<'_> = &[(1, 1, ""), (2, 2, "web")];
    says(&mut writer, EAST, 0, gone);
    let until = writer.due().holds.unwrap();
    assert_eq!(address(&writer, "db"), Some(1));

    let mut writer = restarted(&writer, &config);
    assert_eq!((address(&writer, "db"), writer.due().holds), (Some(1), Some(until)));
    reload(&mut writer, self::config(DISCOVER));
    assert_eq!((address(&writer, "db"), writer.due().holds), (Some(1), Some(until)));
    let longer = DISCOVER.replace("30s", "60s");
    reload(&mut writer, self::config(&longer));
    assert_eq!(writer.due().holds, Some(until + Duration::from_secs(30)));
    reload(&mut writer, self::config(DISCOVER));

    // It follows its allocation meanwhile.
    says(&mut writer, EAST, 1, &[(1, 7, ""), (2, 2, "web")]);
    assert_eq!(address(&writer, "db"), Some(7));
    // It is asked for when it is due, once, and only a good answer ends it.
    assert_eq!(writer.due_sources(until - Duration::from_millis(1)), [] as [SourceId; 0]);
    assert_eq!(writer.due_sources(until), [EAST]);
    assert_eq!(writer.due().holds, None);
    let failed = Delivery { at: until, ..delivery(&writer, None) };
    writer.take(EAST, &failed).unwrap();
    assert_eq!(address(&writer, "db"), Some(7));
    says(&mut writer, EAST, 60, &[(1, 7, ""), (2, 2, "web")]);
    assert_eq!((address(&writer, "db"), address(&writer, "web")), (None, Some(2)));
    assert_eq!(asked(&writer, "db.example.com."), (ResponseCode::NXDomain, 0));
}

/// A name that a reload has no longer, because another tag gives names now, is not held.
#[test]
fn a_reload_of_what_gives_names_is_the_truth() {
    let mut writer = self::writer(&config(DISCOVER), State::default());
    says(&mut writer, EAST, 0, &[(1, 1, "db"), (2, 2, "")]);
    says(&mut writer, EAST, 0, &[(1, 1, ""), (2, 2, "web")]);
    assert_eq!((address(&writer, "db"), address(&writer, "web")), (Some(1), Some(2)));
    reload(&mut writer, config(&DISCOVER.replace("dns-name", "Role")));
    assert_eq!((address(&writer, "db"), address(&writer, "web")), (None, None));
}

#[test]
fn whoever_has_a_name_has_it_after_a_restart_though_another_source_comes_first() {
    let config = config(DISCOVER);
    let mut writer = self::writer(&config, State::default());
    says(&mut writer, WEST, 0, &[(9, 9, "db")]);
    says(&mut writer, EAST, 0, &[(1, 1, "db")]);
    assert_eq!(address(&writer, "db"), Some(9));
    assert_eq!(address(&restarted(&writer, &config), "db"), Some(9));
    reload(&mut writer, self::config(DISCOVER));
    assert_eq!(address(&writer, "db"), Some(9));

    // State that is too old to be served at once.
    let mut state = writer.state();
    for source in state.sources.values_mut() {
        source.delivered_at -= Duration::from_secs(3_600);
    }
    let mut writer = self::writer(&config, state.clone());
    says(&mut writer, EAST, 0, &[(1, 1, "db")]);
    assert_eq!(asked(&writer, "db.example.com."), (ResponseCode::ServFail, 0), "not known yet");
    reload(&mut writer, self::config(DISCOVER));
    assert_eq!(address(&writer, "db"), None);
    writer.serve_waiting_state();
    assert_eq!(address(&writer, "db"), Some(9));
    // Its own word instead of the state.
    let mut writer = self::writer(&config, state);
    says(&mut writer, EAST, 0, &[(1, 1, "db")]);
    says(&mut writer, WEST, 0, &[(9, 8, "db")]);
    assert_eq!(address(&writer, "db"), Some(8));
    says(&mut writer, WEST, 1, &[(9, 8, "")]);
    assert_eq!(address(&writer, "db"), Some(1));
}

#[test]
fn a_mass_loss_of_names_is_let_go_by_an_operator() {
    let mut writer = self::writer(&config(DISCOVER), State::default());
    let all = [(1, 1, "a"), (2, 2, "b"), (3, 3, "c")];
    says(&mut writer, EAST, 0, &all);
    let lost = all.map(|(public, private, _)| (public, private, ""));
    says(&mut writer, EAST, 0, &lost);
    says(&mut writer, EAST, 120, &lost);
    assert!(writer.inventory().discovered.losses[EAST].mass);
    assert_eq!(["a", "b", "c"].map(|name| address(&writer, name)), [Some(1), Some(2), Some(3)]);
    let of_another = Delivery { accept_losses: true, ..good(&writer, WEST, 121, &[]) };
    writer.take(WEST, &of_another).unwrap();
    assert_eq!(address(&writer, "a"), Some(1));
    let accepted = Delivery { accept_losses: true, ..good(&writer, EAST, 122, &lost) };
    writer.take(EAST, &accepted).unwrap();
    assert_eq!(["a", "b", "c"].map(|name| address(&writer, name)), [None; 3]);
    assert_eq!(writer.due().holds, None);
}

/// A name from a tag holds its address as one in the file does.
#[test]
fn an_address_of_a_name_from_a_tag_is_held_as_long_as_the_name_says() {
    let mut writer = self::writer(&config(&DISCOVER.replace("30s", "77s")), State::default());
    says(&mut writer, EAST, 0, &[(1, 1, "db")]);
    let mut loose = Address::clone(&tagged(&[(1, 1, "db")])[0]);
    (loose.private_ip, loose.association_id) = (None, None);
    let answer = Addresses::from([Arc::new(loose)]);
    let delivery = Delivery { answer: Ok(answer.into()), ..good(&writer, EAST, 0, &[]) };
    writer.take(EAST, &delivery).unwrap();
    assert_eq!(address(&writer, "db"), Some(1));
    assert_eq!(writer.due().holds, Some(delivery.at + Duration::from_secs(77)));
}

/// Set while [`fragile`] is to panic.
static BROKEN: AtomicBool = AtomicBool::new(false);

fn fragile(input: &Input<'_>, serials: &mut Serials, before: Option<&Snapshot>) -> Snapshot {
    let knows = input.inventory.sources.iter().any(|source| source.entries.is_some());
    assert!(!(knows && BROKEN.load(Ordering::SeqCst)), "a test of what a panic does");
    compile(input, serials, before)
}

#[test]
fn a_panic_changes_nothing_about_names_and_is_tried_again() {
    let config = config(DISCOVER);
    let made = |state| Writer::with(start(&config, state), fragile).unwrap().0;
    let broken = |writer: &mut Writer, delivery: &Delivery| {
        BROKEN.store(true, Ordering::SeqCst);
        writer.take(delivery.source, delivery).unwrap_err();
        BROKEN.store(false, Ordering::SeqCst);
    };
    let mut writer = made(State::default());
    says(&mut writer, WEST, 0, &[(9, 9, ""), (8, 8, "web")]);
    says(&mut writer, EAST, 0, &[(1, 1, "db"), (2, 2, "")]);
    says(&mut writer, WEST, 0, &[(9, 9, ""), (8, 8, "")]);
    let (state, due) = (writer.state(), writer.due());
    // It is another source's then, and nothing of the first is held.
    let taken = good(&writer, EAST, 1, &[(1, 1, ""), (2, 2, "db web")]);
    broken(&mut writer, &taken);
    assert_eq!((address(&writer, "db"), address(&writer, "web")), (Some(1), Some(8)));
    assert_eq!((writer.state().sources, writer.due()), (state.sources.clone(), due));
    writer.take(EAST, &taken).unwrap();
    assert_eq!((address(&writer, "db"), address(&writer, "web")), (Some(2), Some(2)));

    // What a restart remembers of a name outlasts it too.
    let mut old = state;
    for source in old.sources.values_mut() {
        source.delivered_at -= Duration::from_secs(3_600);
    }
    let mut writer = made(old);
    let first = good(&writer, WEST, 1, &[(9, 9, ""), (8, 8, "")]);
    broken(&mut writer, &first);
    BROKEN.store(true, Ordering::SeqCst);
    writer.serve_waiting_state();
    BROKEN.store(false, Ordering::SeqCst);
    writer.take(WEST, &first).unwrap();
    assert_eq!(address(&writer, "web"), Some(8), "it is held");
}

/// A set that `[names]` binds by tag, of which no address has the tag any longer.
#[test]
fn a_bound_set_is_held_over_restarts_and_reloads_until_its_time() {
    const SET: &str = "[names]\npool = { tag = { dns-name = \"db\" }, hold = \"30s\" }\n";
    let mut writer = self::writer(&config(SET), State::default());
    says(&mut writer, WEST, 0, &[]);
    says(&mut writer, EAST, 0, &[(1, 1, "db"), (2, 2, "db")]);
    says(&mut writer, EAST, 0, &[(1, 1, "db"), (2, 2, "")]);
    assert_eq!((address(&writer, "pool"), writer.due().holds), (Some(1), None), "one less");
    says(&mut writer, EAST, 0, &[(1, 1, ""), (2, 2, "")]);
    let until = writer.due().holds.unwrap();
    assert_eq!(address(&writer, "pool"), Some(1));

    let mut writer = restarted(&writer, &config(SET));
    assert_eq!((address(&writer, "pool"), writer.due().holds), (Some(1), Some(until)));
    reload(&mut writer, config(SET));
    assert_eq!((address(&writer, "pool"), writer.due().holds), (Some(1), Some(until)));
    // It follows its allocation, and whoever has the tag ends the hold.
    says(&mut writer, EAST, 1, &[(1, 7, ""), (2, 2, "")]);
    assert_eq!(address(&writer, "pool"), Some(7));
    says(&mut writer, EAST, 2, &[(1, 7, ""), (2, 2, "db")]);
    assert_eq!((address(&writer, "pool"), writer.due().holds), (Some(2), None));
    says(&mut writer, EAST, 3, &[(1, 7, ""), (2, 2, "")]);
    assert_eq!(address(&writer, "pool"), Some(2));
    says(&mut writer, EAST, 60, &[(1, 7, ""), (2, 2, "")]);
    assert_eq!(asked(&writer, "pool.example.com."), (ResponseCode::NoError, 0));

    // What gives other names now is no set of before.
    says(&mut writer, EAST, 61, &[(1, 7, ""), (2, 2, "db")]);
    says(&mut writer, EAST, 62, &[(1, 7, ""), (2, 2, "")]);
    reload(&mut writer, config(&SET.replace("\"db\"", "\"web\"")));
    assert_eq!(asked(&writer, "pool.example.com."), (ResponseCode::NoError, 0));
}
