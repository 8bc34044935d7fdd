use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

fn client(last: u8) -> Payer {
    Payer::Client(IpAddr::from([10, 0, 0, last]).into())
}

fn turns(limit: u32) -> Turns<&'static str> {
    Turns::new(NonZeroU32::new(limit).unwrap())
}

/// Who leaves as time goes on, until nobody waits.
fn order<T>(turns: &mut Turns<T>, mut now: Instant) -> Vec<T> {
    let mut gone = Vec::new();
    loop {
        match turns.next(now) {
            Turn::Go(ticket) => gone.push(ticket),
            Turn::At(at) => now = at,
            Turn::Nobody => return gone,
        }
    }
}

#[test]
fn clients_take_turns_however_long_their_lines_are() {
    let start = Instant::now();
    let mut turns = turns(16);
    assert!(turns.at_once(1, start));
    assert!(!turns.at_once(1, start));
    for ticket in ["a1", "a2", "a3", "a4"] {
        turns.line_up([client(1)], 1, Stage::First, ticket).unwrap();
    }
    turns.line_up([client(2)], 1, Stage::First, "b1").unwrap();
    turns.line_up([Payer::Ourselves], 1, Stage::First, "check").unwrap();
    assert_eq!(turns.next(start), Turn::At(start + turns.pace.interval()));
    assert!(!turns.at_once(1, start + Duration::from_secs(9)), "others were first");
    assert_eq!(order(&mut turns, start), ["a1", "b1", "check", "a2", "a3", "a4"]);
    assert!(turns.lines.is_empty() && turns.round.is_empty() && turns.packets == 0);
}

#[test]
fn several_packets_are_several_turns() {
    let start = Instant::now();
    let mut turns = turns(160);
    assert!(turns.at_once(10, start));
    turns.line_up([client(1)], 3, Stage::First, "tcp").unwrap();
    for ticket in ["b1", "b2", "b3", "b4"] {
        turns.line_up([client(2)], 1, Stage::First, ticket).unwrap();
    }
    assert_eq!(order(&mut turns, start), ["b1", "b2", "tcp", "b3", "b4"]);
}

#[test]
fn what_goes_on_is_before_what_is_new() {
    let start = Instant::now();
    let mut turns = turns(16);
    assert!(turns.at_once(1, start));
    turns.line_up([client(1)], 1, Stage::First, "new").unwrap();
    turns.line_up([client(1)], 1, Stage::Further, "further").unwrap();
    assert_eq!(order(&mut turns, start), ["further", "new"]);
}

#[test]
fn who_joins_does_not_wait_in_the_others_line() {
    let start = Instant::now();
    let mut turns = turns(32);
    assert!(turns.at_once(2, start));
    for ticket in ["a1", "a2", "a3"] {
        turns.line_up([client(1)], 1, Stage::First, ticket).unwrap();
    }
    let shared = turns.line_up([client(1)], 1, Stage::First, "shared").unwrap();
    turns.join(shared, client(2));
    turns.join(shared, client(2));
    assert_eq!(turns.waiting(), 4);
    assert_eq!(order(&mut turns, start), ["a1", "shared", "a2", "a3"]);
    turns.join(shared, client(3));
    assert!(turns.is_empty(), "it is gone");
}

#[test]
fn who_leaves_makes_room() {
    let start = Instant::now();
    let mut turns = turns(16);
    assert!(turns.at_once(1, start));
    let number = turns.line_up([client(1)], 1, Stage::First, "a1").unwrap();
    turns.line_up([client(2)], 1, Stage::First, "b1").unwrap();
    turns.leave(number);
    turns.leave(number);
    assert_eq!((turns.waiting(), turns.lines.len()), (1, 1));
    assert_eq!(order(&mut turns, start), ["b1"]);
}

#[test]
fn a_line_is_no_longer_than_patience() {
    let start = Instant::now();
    let mut turns = turns(16);
    assert!(turns.at_once(1, start));
    for _ in 0..15 {
        turns.line_up([client(1)], 1, Stage::First, "a").unwrap();
    }
    assert_eq!(turns.line_up([client(1)], 1, Stage::First, "a"), Err(Busy));
    // Others, and what has come further, have room.
    let both = turns.line_up([client(1), client(2)], 1, Stage::First, "b").unwrap();
    assert_eq!(turns.waiting[&both].payers, [client(2)]);
    turns.line_up([client(1)], 6, Stage::Further, "tcp").unwrap();
    assert_eq!(turns.waiting(), 17);
}

#[test]
fn the_shorter_wait_is_known() {
    let start = Instant::now();
    let mut turns = turns(16);
    let interval = turns.pace.interval();
    assert_eq!(turns.expected(client(1), start), Duration::ZERO);
    assert!(turns.at_once(1, start));
    assert_eq!(turns.expected(client(1), start), interval);
    for ticket in ["a1", "a2", "a3"] {
        turns.line_up([client(1)], 1, Stage::First, ticket).unwrap();
    }
    assert_eq!(turns.expected(client(1), start), interval * 4);
    assert_eq!(turns.expected(client(2), start), interval * 2);
}

/// The same, said as plainly as can be: lists that are searched.
#[derive(Default)]
struct Model {
    /// Clients in the order of their turns, with the turns they saved up.
    round: Vec<(Payer, u32)>,
    /// Number, packets, stage, payers.
    waiting: Vec<(usize, u32, Stage, Vec<Payer>)>,
}

impl Model {
    fn packets(&self, payer: Payer) -> u32 {
        let of = |w: &&(_, _, _, Vec<Payer>)| w.3.contains(&payer);
        self.waiting.iter().filter(of).map(|waiting| waiting.1).sum()
    }

    fn join(&mut self, number: usize, payer: Payer, most: u32) {
        let packets = self.packets(payer);
        let Some(waiting) = self.waiting.iter_mut().find(|w| w.0 == number) else { return };
        if waiting.2 == Stage::First && packets >= most || waiting.3.contains(&payer) {
            return;
        }
        waiting.3.push(payer);
        if !self.round.iter().any(|(in_it, _)| *in_it == payer) {
            self.round.push((payer, 0));
        }
    }

    fn leave(&mut self, number: usize) {
        self.waiting.retain(|waiting| waiting.0 != number);
        let waiting = &self.waiting;
        self.round.retain(|(payer, _)| waiting.iter().any(|w| w.3.contains(payer)));
    }

    /// Who is next and how many packets it is.
    fn next(&mut self) -> Option<(usize, u32)> {
        while let Some((payer, credit)) = self.round.first().copied() {
            let mine = self.waiting.iter().filter(|w| w.3.contains(&payer));
            let first = mine.min_by_key(|w| (w.2, w.0)).unwrap();
            let (number, packets) = (first.0, first.1);
            self.round[0].1 += u32::from(credit < packets);
            if self.round[0].1 >= packets {
                return Some((number, packets));
            }
            self.round.rotate_left(1);
        }
        None
    }

    /// The one that is next goes.
    fn go(&mut self, number: usize, packets: u32) {
        self.round[0].1 -= packets;
        self.round.rotate_left(1);
        self.leave(number);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Ask(u8, Option<u8>, bool),
    Join(prop::sample::Index, u8),
    Leave(prop::sample::Index),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..5, prop::option::of(0u8..5), prop::bool::weighted(0.2))
            .prop_map(|(who, too, tcp)| Step::Ask(who, too, tcp)),
        1 => (any::<prop::sample::Index>(), 0u8..5).prop_map(|(of, who)| Step::Join(of, who)),
        1 => any::<prop::sample::Index>().prop_map(Step::Leave),
        3 => (0u64..40_000).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn does_what_the_model_does(
        limit in 1u32..200,
        steps in prop::collection::vec(step(), 1..400),
    ) {
        let mut now = Instant::now();
        let limit = NonZeroU32::new(limit).unwrap();
        let mut turns: Turns<usize> = Turns::new(limit);
        let (mut model, mut pace) = (Model::default(), Pace::new(limit));
        let most = turns.pace.within(PATIENCE);
        // Of those that the model knows by another number.
        let mut numbers = Vec::new();
        for step in steps {
            match step {
                Step::Ask(who, too, tcp) => {
                    let payers = || [Some(who), too].into_iter().flatten().map(client);
                    let (packets, stage) = if tcp { (6, Stage::Further) } else { (1, Stage::First) };
                    let id = numbers.len();
                    model.waiting.push((id, packets, stage, Vec::new()));
                    payers().for_each(|payer| model.join(id, payer, most));
                    let fits = model.waiting.last().is_some_and(|w| !w.3.is_empty());
                    let number = turns.line_up(payers(), packets, stage, id);
                    prop_assert_eq!(number.is_ok(), fits);
                    numbers.push(number.unwrap_or(u64::MAX));
                    if !fits {
                        model.leave(id);
                    }
                }
                Step::Join(of, who) if !numbers.is_empty() => {
                    let id = of.index(numbers.len());
                    turns.join(numbers[id], client(who));
                    model.join(id, client(who), most);
                }
                Step::Leave(of) if !numbers.is_empty() => {
                    let id = of.index(numbers.len());
                    turns.leave(numbers[id]);
                    model.leave(id);
                }
                Step::Join(..) | Step::Leave(_) => {}
                Step::Wait(micros) => now += Duration::from_micros(micros),
            }
            loop {
                let turn = turns.next(now);
                let Some((id, packets)) = model.next() else {
                    prop_assert_eq!(turn, Turn::Nobody);
                    break;
                };
                match pace.take(packets, now) {
                    Ok(()) => {
                        prop_assert_eq!(turn, Turn::Go(id));
                        model.go(id, packets);
                    }
                    Err(wait) => {
                        prop_assert_eq!(turn, Turn::At(now + wait));
                        break;
                    }
                }
            }
            prop_assert_eq!(turns.waiting(), model.waiting.len());
            prop_assert_eq!(turns.lines.len(), model.round.len());
            prop_assert_eq!(turns.round.len(), model.round.len());
            let packets: u32 = model.waiting.iter().map(|waiting| waiting.1).sum();
            prop_assert_eq!(turns.packets, u64::from(packets));
            for (payer, line) in &turns.lines {
                prop_assert_eq!(line.packets, model.packets(*payer));
            }
        }
    }

    /// Who always has something waiting gets as many packets as any other,
    /// whatever size they have; and who has one waits for one of each.
    #[test]
    fn is_fair(
        limit in 2u32..2_000,
        sizes in prop::collection::vec(prop::sample::select(vec![1u32, 6]), 2..6),
        rounds in 10usize..200,
    ) {
        let mut now = Instant::now();
        let mut turns: Turns<u8> = Turns::new(NonZeroU32::new(limit).unwrap());
        while turns.at_once(1, now) {}
        let mut got = vec![0u32; sizes.len()];
        let stage = Stage::Further;
        for (who, packets) in (0u8..).zip(&sizes) {
            for _ in 0..2 {
                turns.line_up([client(who)], *packets, stage, who).unwrap();
            }
        }
        let late = 200;
        for nth in 0..rounds * sizes.len() {
            if nth == rounds {
                turns.line_up([client(late)], 1, stage, late).unwrap();
            }
            let who = loop {
                match turns.next(now) {
                    Turn::Go(who) => break who,
                    Turn::At(at) => now = at,
                    Turn::Nobody => panic!("there is always somebody"),
                }
            };
            if who == late {
                prop_assert!(nth - rounds <= sizes.len(), "waited for {}", nth - rounds);
                continue;
            }
            got[usize::from(who)] += sizes[usize::from(who)];
            turns.line_up([client(who)], sizes[usize::from(who)], stage, who).unwrap();
        }
        let (least, most) = (got.iter().min().unwrap(), got.iter().max().unwrap());
        prop_assert!(most - least <= 6, "{got:?}");
    }
}
