//! How soon after exec the first correct answer comes, from fresh state with
//! EC2 out of reach. Printed, not judged: that is for a quiet machine.

use std::time::Instant;

use hickory_proto::rr::RecordType;

use super::scripted::{Address, Ec2, Fault};
use super::{answer, asked, configure, settled, source, start};

/// As many as the figure in the README is for.
const NAMES: u32 = 1000;
const STARTS: usize = 5;

#[test]
fn from_exec_to_the_first_answer() {
    let ip = |n: u32, high: u8| format!("{high}.101.{}.{}", n >> 8, n & 255);
    let all = (0..NAMES)
        .map(|n| Address::new(&ip(n, 75)).at(&ip(n, 10), &format!("eipassoc-{n}")))
        .collect();
    let ec2 = Ec2::start(all);
    let names: String = (0..NAMES).map(|n| format!("n{n} = \"{}\"\n", ip(n, 75))).collect();
    let dir = configure(&source("east", &ec2.url(), "1h", ""), "", &names);
    let server = settled(&dir);
    assert!(server.stop().success());

    for (words, fault) in [("refused", Fault::Refused), ("silent", Fault::Stall)] {
        ec2.fault(fault);
        let mut times: Vec<_> = (0..STARTS)
            .map(|_| {
                let began = Instant::now();
                let server = start(&dir);
                let first = asked(server.dns, "n999.example.com.").0;
                let took = began.elapsed();
                assert_eq!(first, answer(&ip(999, 10)));
                assert_eq!(server.data("n0.example.com.", RecordType::A), [ip(0, 10)]);
                took
            })
            .collect();
        times.sort_unstable();
        println!("exec to first answer, {NAMES} names of fresh state, EC2 {words}: {times:.1?}");
    }
}
