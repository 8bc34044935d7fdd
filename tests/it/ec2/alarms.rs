//! Alert rules whose condition needs EC2: losses in good answers. See
//! [`alerts`](crate::alerts).

use super::scripted::{Address, Ec2, public};
use super::{configure, http, refresh, settled, source};
use crate::fixtures::promtool::{Scrape, fires, promtool, while_it_lasts};

#[test]
fn losses_that_are_held() {
    let Some(promtool) = promtool() else { return };
    let ec2 = Ec2::with(4);
    let names: Vec<_> = (1..=4).map(|n| format!("n{n} = \"{}\"", public(n))).collect();
    let dir = configure(&source("east", &ec2.url(), "1m", ""), "", &names.join("\n"));
    let server = settled(&dir);
    let scrape = || Scrape::of(&http(&server).to_string());
    let healthy = scrape();
    fires(&promtool, &while_it_lasts(&healthy, &healthy), &[]);

    let all = ec2.addresses();
    ec2.set(all[..3].to_vec());
    assert!(refresh(&server, false).is_empty());
    let one = scrape();
    assert_eq!(one.value("eipdns_source_held_addresses", "source=\"east\""), 1.0);
    fires(&promtool, &while_it_lasts(&healthy, &one), &["EipdnsLossHeld"]);

    ec2.set(all[..1].to_vec());
    assert!(refresh(&server, false).is_empty());
    let expected = ["EipdnsLossHeld", "EipdnsMassLossHeld"];
    fires(&promtool, &while_it_lasts(&healthy, &scrape()), &expected);
}

#[test]
fn names_that_no_tag_gives_and_that_are_held() {
    let Some(promtool) = promtool() else { return };
    let ec2 = Ec2::with(4);
    let tagged = |n: u8, address: Address| address.tag("dns-name", &format!("n{n}"));
    let bare = ec2.addresses();
    let all: Vec<_> = (1..).zip(bare.clone()).map(|(n, address)| tagged(n, address)).collect();
    ec2.set(all.clone());
    let dir = configure(&source("east", &ec2.url(), "1m", ""), "", "");
    dir.write("example.com.toml", "[discover]\ntag = \"dns-name\"\n");
    let server = settled(&dir);
    let scrape = || Scrape::of(&http(&server).to_string());
    let healthy = scrape();
    assert_eq!(healthy.value("eipdns_source_names", "source=\"east\""), 4.0);
    fires(&promtool, &while_it_lasts(&healthy, &healthy), &[]);

    ec2.set([&all[..3], &bare[3..]].concat());
    assert!(refresh(&server, false).is_empty());
    let one = scrape();
    assert_eq!(one.value("eipdns_source_held_names", "source=\"east\""), 1.0);
    fires(&promtool, &while_it_lasts(&healthy, &one), &["EipdnsNamesHeld"]);

    ec2.set([&all[..1], &bare[1..]].concat());
    assert!(refresh(&server, false).is_empty());
    let expected = ["EipdnsMassLossHeld", "EipdnsNamesHeld"];
    fires(&promtool, &while_it_lasts(&healthy, &scrape()), &expected);
}
