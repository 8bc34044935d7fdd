//! What must be read, and as what.

use hickory_proto::rr::{RData, RecordType};

use super::*;
use crate::records::layout;

/// Reads `text` in example.com without any problem, as lines.
#[track_caller]
fn read(text: &str) -> Vec<String> {
    read_with(text, &[])
}

#[track_caller]
fn read_with(text: &str, includes: &[(&str, &str)]) -> Vec<String> {
    let (file, problems) = read_all(text.as_bytes(), &key("example.com"), includes);
    assert_eq!(problems, [""; 0], "{text}");
    lines(&file)
}

/// The data of each type, as people write it and as we do.
const DATA: &[(&str, &str)] = &[
    ("A 10.0.0.1", "A 10.0.0.1"),
    ("a 10.0.0.1", "A 10.0.0.1"),
    ("AAAA 2001:DB8:0:0::1", "AAAA 2001:db8::1"),
    ("AAAA ::ffff:10.0.0.1", "AAAA ::ffff:10.0.0.1"),
    ("NS Ns1", "NS Ns1.example.com."),
    ("NS @", "NS example.com."),
    ("NS .", "NS ."),
    (r"NS a\.b\032c.d.", r"NS a\.b\032c.d."),
    (r"NS \@.\$x.", r"NS \064.\036x."),
    ("CNAME x.y.", "CNAME x.y."),
    ("DNAME x.y.", "DNAME x.y."),
    ("PTR x.y.", "PTR x.y."),
    ("MB x.y.", r"TYPE7 \# 5 0178017900"),
    ("MG x.y.", r"TYPE8 \# 5 0178017900"),
    ("MR x.y.", r"TYPE9 \# 5 0178017900"),
    ("MINFO a.b. c.d.", "MINFO a.b. c.d."),
    ("RP a.b. c.d.", "RP a.b. c.d."),
    ("MX 10 mail", "MX 10 mail.example.com."),
    ("MX 0 .", "MX 0 ."),
    ("KX 10 kx", "KX 10 kx.example.com."),
    ("AFSDB 1 db", "AFSDB 1 db.example.com."),
    ("LP 10 l", "LP 10 l.example.com."),
    ("SRV 1 2 443 t", "SRV 1 2 443 t.example.com."),
    ("TXT foo", r#"TXT "foo""#),
    (r#"TXT "foo bar" baz"#, r#"TXT "foo bar" "baz""#),
    (r#"TXT "a;b(c)d""#, r#"TXT "a;b(c)d""#),
    (r#"TXT "a\"b\\c\065\000\255""#, r#"TXT "a\"b\\cA\000\255""#),
    (r"TXT a\;b\ c\(", r#"TXT "a;b c(""#),
    (r#"TXT """#, r#"TXT """#),
    (r#"TXT "é""#, r#"TXT "\195\169""#),
    ("TXT \"a\tb\"", r#"TXT "a\009b""#),
    (r#"TXT "a""b""#, r#"TXT "a" "b""#),
    ("TXT ( \"a\" ; one\n \"b\" )", r#"TXT "a" "b""#),
    (r#"SPF "v=spf1 -all""#, r#"SPF "v=spf1 -all""#),
    (r#"HINFO PC "Plan 9""#, r#"HINFO "PC" "Plan 9""#),
    ("X25 311061700956", r"TYPE19 \# 13 0C333131303631373030393536"),
    ("ISDN 15086", r"TYPE20 \# 6 053135303836"),
    ("ISDN 15086 004", r"TYPE20 \# 10 05313530383603303034"),
    (r#"CAA 0 issue "ca.example; a=b""#, r#"CAA 0 issue "ca.example; a=b""#),
    (r#"CAA 128 Issue """#, r#"CAA 128 Issue """#),
    ("CAA 0 issue ca.example", r#"CAA 0 issue "ca.example""#),
    (
        r#"NAPTR 100 50 "s" "z3950+I2L" "" _z3950._tcp"#,
        r#"NAPTR 100 50 "s" "z3950+I2L" "" _z3950._tcp.example.com."#,
    ),
    (
        r#"NAPTR 100 10 u E2U+sip "!^.*$!sip:info@example.com!" ."#,
        r#"NAPTR 100 10 "u" "E2U+sip" "!^.*$!sip:info@example.com!" ."#,
    ),
    (r#"URI 10 1 "ftp://a.b/p;q""#, r#"URI 10 1 "ftp://a.b/p;q""#),
    ("TLSA 3 1 1 D2AB de40", "TLSA 3 1 1 D2ABDE40"),
    ("SMIMEA 3 1 1 D2 ABD E40", "SMIMEA 3 1 1 D2ABDE40"),
    (
        "SSHFP 4 1 123456789abcdef67890123456789abcdef67890",
        "SSHFP 4 1 123456789ABCDEF67890123456789ABCDEF67890",
    ),
    (
        "DS 60485 RSASHA1 1 ( 2BB183AF5F22588179A53B0A 98631FAD1A292118 )",
        "DS 60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118",
    ),
    ("CDS 0 0 0 00", "CDS 0 0 0 00"),
    ("CDNSKEY 0 3 0 AA==", "CDNSKEY 0 3 0 AA=="),
    ("DNSKEY 257 3 ECDSAP256SHA256 AwEA AQ==", "DNSKEY 257 3 13 AwEAAQ=="),
    ("DHCID AAIBY2/A", "DHCID AAIBY2/A"),
    ("OPENPGPKEY mQEN BFY=", "OPENPGPKEY mQENBFY="),
    ("CERT PKIX 1 RSASHA256 AwEAAQ==", "CERT 1 1 8 AwEAAQ=="),
    ("CERT 65000 1 0 AwEAAQ==", "CERT 65000 1 0 AwEAAQ=="),
    ("CSYNC 66 3 A NS aaaa TYPE65280", "CSYNC 66 3 A NS AAAA TYPE65280"),
    ("CSYNC 66 3", "CSYNC 66 3"),
    ("ZONEMD 1 1 240 000102030405060708090A0B", "ZONEMD 1 1 240 000102030405060708090A0B"),
    ("EUI48 00-00-5e-00-53-2A", "EUI48 00-00-5e-00-53-2a"),
    ("EUI64 00-00-5e-ef-10-00-00-2a", "EUI64 00-00-5e-ef-10-00-00-2a"),
    ("NID 10 0014:4fff:ff20:ee64", "NID 10 0014:4fff:ff20:ee64"),
    ("L64 10 2001:db8:1140:1000", "L64 10 2001:0db8:1140:1000"),
    ("L32 10 10.1.2.0", "L32 10 10.1.2.0"),
    (
        "LOC 42 21 54 N 71 06 18 W -24m 30m",
        "LOC 42 21 54.000 N 71 6 18.000 W -24.00m 30.00m 10000.00m 10.00m",
    ),
    ("LOC 42 s 71 E 0", "LOC 42 0 0.000 S 71 0 0.000 E 0.00m 1.00m 10000.00m 10.00m"),
    (
        "LOC 90 S 180 0 0.000 w 42849672.95 0 0.01m 90000000m",
        "LOC 90 0 0.000 S 180 0 0.000 W 42849672.95m 0.00m 0.01m 90000000.00m",
    ),
    (
        "LOC 1 2 3.456 n 4 5 e 1.5 1234m",
        "LOC 1 2 3.456 N 4 5 0.000 E 1.50m 1000.00m 10000.00m 10.00m",
    ),
    ("SVCB 0 svc", "SVCB 0 svc.example.com."),
    ("HTTPS 1 .", "HTTPS 1 ."),
    (
        r#"HTTPS 1 . port=8443 alpn="h2,h3" ipv4hint=10.0.0.1,10.0.0.2"#,
        r#"HTTPS 1 . alpn="h2,h3" port="8443" ipv4hint="10.0.0.1,10.0.0.2""#,
    ),
    (
        "SVCB 1 a ipv6hint=2001:db8::1 ech=AAAA no-default-alpn alpn=h3 mandatory=port,alpn port=1",
        concat!(
            r#"SVCB 1 a.example.com. mandatory="alpn,port" alpn="h3" no-default-alpn"#,
            r#" port="1" ech="AAAA" ipv6hint="2001:db8::1""#
        ),
    ),
    (r#"SVCB 1 . alpn="f\\\\oo\\,bar,h2""#, r#"SVCB 1 . alpn="f\\\\oo\\,bar,h2""#),
    (r"SVCB 1 . alpn=f\\\092oo\092,bar,h2", r#"SVCB 1 . alpn="f\\\\oo\\,bar,h2""#),
    (r#"SVCB 1 . dohpath="/dns-query{?dns}""#, r#"SVCB 1 . key7="/dns-query{?dns}""#),
    (r#"SVCB 1 . key669="a b\001" ohttp"#, r#"SVCB 1 . key8 key669="a b\001""#),
    (r"A \# 4 0A000001", "A 10.0.0.1"),
    ("TYPE1 10.0.0.1", "A 10.0.0.1"),
    (r"type1 \# 4 0A 00 0001", "A 10.0.0.1"),
    (r"MX \# 7 000a 03 666f6f 00", "MX 10 foo."),
    (r"TYPE65280 \# 3 abCDef", r"TYPE65280 \# 3 ABCDEF"),
    (r"TYPE65280 \# 0", r"TYPE65280 \# 0"),
    (r"WKS \# 5 0A00000106", r"TYPE11 \# 5 0A00000106"),
    (r"NULL \# 1 00", r"TYPE10 \# 1 00"),
    (r#"TXT \# 2 0141"#, r#"TXT "A""#),
    (r#"TXT "\#" 1"#, r##"TXT "#" "1""##),
];

#[test]
fn data_of_every_type() {
    for (text, expected) in DATA {
        let lines = read(&format!("x 60 IN {text}\n"));
        assert_eq!(lines, [format!("x.example.com. 60 IN {expected}")], "{text}");
    }
    for layout in layout::all() {
        let written = DATA.iter().any(|(text, _)| text.split(' ').next() == Some(layout.name));
        assert!(written || layout.name == "SOA", "no example of {}", layout.name);
    }
}

#[test]
fn soa_with_units() {
    let soa =
        "@ IN SOA ns1 host\\.master ( 2026010101 ; serial\n 8H\n 2h30m\n 1W ; expire\n 300 )\n";
    assert_eq!(
        read(soa),
        [
            r"example.com. 300 IN SOA ns1.example.com. host\.master.example.com. 2026010101 28800 9000 604800 300"
        ]
    );
}

#[test]
fn class_and_ttl_in_any_order_or_absent() {
    for head in ["60 IN", "IN 60", "1m in", "60", "CLASS1 60", "60 class1"] {
        assert_eq!(read(&format!("x {head} A 10.0.0.1")), ["x.example.com. 60 IN A 10.0.0.1"]);
    }
    for head in ["IN", ""] {
        assert_eq!(read(&format!("x {head} A 10.0.0.1")), ["x.example.com. 5 IN A 10.0.0.1"]);
    }
}

#[test]
fn ttl_that_is_not_given() {
    let ttls = |text: &str| -> Vec<u32> {
        let (file, problems) = read_all(text.as_bytes(), &key("example.com"), &[]);
        assert_eq!(problems, [""; 0]);
        file.records.iter().map(|r| r.ttl).collect()
    };
    assert_eq!(ttls("a A 10.0.0.1\nb 60 A 10.0.0.1\nc A 10.0.0.1"), [5, 60, 60]);
    assert_eq!(
        ttls("a 60 A 10.0.0.1\n$ttl 1h\nb A 10.0.0.1\nc 9 A 10.0.0.1\nd A 10.0.0.1"),
        [60, 3600, 9, 3600]
    );
    assert_eq!(
        ttls("@ SOA a b 1 2 3 4 77\nb A 10.0.0.1\nc 9 A 10.0.0.1\nd A 10.0.0.1"),
        [77, 77, 9, 9]
    );
    assert_eq!(ttls("$TTL 0\n@ SOA a b 1 2 3 4 77\nb A 10.0.0.1"), [0, 0]);
}

#[test]
fn owners_and_origins() {
    let text = r"
@ A 10.0.0.1
	60 MX 1 .
Www A 10.0.0.3
  	 AAAA ::1 ; the same owner

; a comment
$Origin Sub
@ A 10.0.0.4
a A 10.0.0.5
*.w.example.com. NS B
$ORIGIN Deep.Sub.example.com.
c\.d\065 ( NS
 x )
$ORIGIN @
e A 10.0.0.6
";
    assert_eq!(
        read(text),
        [
            "example.com. 5 IN A 10.0.0.1",
            "example.com. 60 IN MX 1 .",
            "www.example.com. 60 IN A 10.0.0.3",
            "www.example.com. 60 IN AAAA ::1",
            "sub.example.com. 60 IN A 10.0.0.4",
            "a.sub.example.com. 60 IN A 10.0.0.5",
            "*.w.example.com. 60 IN NS B.Sub.example.com.",
            r"c\.da.deep.sub.example.com. 60 IN NS x.Deep.Sub.example.com.",
            "e.deep.sub.example.com. 60 IN A 10.0.0.6",
        ]
    );
}

#[test]
fn what_an_included_file_says_ends_with_it() {
    let text = r#"
$TTL 100
a A 10.0.0.1
$include "sub/one" inner
  A 10.0.0.2
b A 10.0.0.3
$INCLUDE sub/one
"#;
    let one = "  MX 1 .\n$TTL 200\nx A 10.0.0.9\n$ORIGIN deep\ny 9 A 10.0.0.9\n$INCLUDE two\n";
    let two = "z TXT two";
    assert_eq!(
        read_with(text, &[("sub/one", one), ("sub/two", two)]),
        [
            "a.example.com. 100 IN A 10.0.0.1",
            "a.example.com. 100 IN MX 1 .",
            "x.inner.example.com. 200 IN A 10.0.0.9",
            "y.deep.inner.example.com. 9 IN A 10.0.0.9",
            r#"z.deep.inner.example.com. 200 IN TXT "two""#,
            "a.example.com. 100 IN A 10.0.0.2",
            "b.example.com. 100 IN A 10.0.0.3",
            "b.example.com. 100 IN MX 1 .",
            "x.example.com. 200 IN A 10.0.0.9",
            "y.deep.example.com. 9 IN A 10.0.0.9",
            r#"z.deep.example.com. 200 IN TXT "two""#,
        ]
    );
}

#[test]
fn a_place_names_the_included_file() {
    let includes = [("sub/one", "\n\n   A 10.0.0.2\n")];
    let (file, _) = read_all(b"a A 10.0.0.1\n$INCLUDE sub/one\n", &key("example.com"), &includes);
    let places: Vec<_> = file.records.iter().map(|r| file.place(r).to_string()).collect();
    assert_eq!(places, ["zone:1:1", "sub/one:3:4"]);
}

/// Code that follows names in data relies on these being typed.
#[test]
fn types_with_names_are_typed() {
    let text = "a A 10.0.0.1\n AAAA ::1\n NS Ns\n PTR P\n MX 1 M\n SRV 1 2 3 S\n TXT t\nb CNAME C\n\
                @ SOA a b 1 2 3 4 5";
    let (file, problems) = read_all(text.as_bytes(), &key("example.com"), &[]);
    assert_eq!(problems, [""; 0]);
    for record in &file.records {
        assert!(!matches!(record.data, RData::Unknown { .. }), "{record:?}");
        assert_eq!(record.data.record_type(), record.rtype);
    }
    let dname = "a DNAME b";
    let (file, _) = read_all(dname.as_bytes(), &key("example.com"), &[]);
    assert!(matches!(&file.records[0].data, RData::Unknown { code: RecordType::DNAME, .. }));
}

#[test]
fn an_rrset_has_one_ttl_and_no_record_twice() {
    let text = "a 300 A 10.0.0.1\nb 7 A 10.0.0.9\na 60 A 10.0.0.2\na 10 A 10.0.0.1\na 90 TXT x";
    let (file, problems) = read_all(text.as_bytes(), &key("example.com"), &[]);
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert_eq!(
        lines(&file),
        [
            "a.example.com. 10 IN A 10.0.0.1",
            "b.example.com. 7 IN A 10.0.0.9",
            "a.example.com. 10 IN A 10.0.0.2",
            r#"a.example.com. 90 IN TXT "x""#,
        ]
    );
}

#[test]
fn the_root_may_be_the_zone() {
    let (file, problems) = read_all(b"com NS a.b.\n. SOA a b 1 2 3 4 5", &Key::root(), &[]);
    assert_eq!(problems, [""; 0]);
    assert_eq!(lines(&file), ["com. 5 IN NS a.b.", ". 5 IN SOA a. b. 1 2 3 4 5"]);
}

#[test]
fn records_are_small() {
    let size = size_of::<StaticRecord>();
    let data = size_of::<RData>();
    assert!(size - data <= 40, "{size} octets, of which data {data}");
}

#[test]
fn line_ends() {
    let expected = ["a.example.com. 5 IN A 10.0.0.1", "a.example.com. 5 IN TXT \"x\""];
    assert_eq!(read("a A 10.0.0.1\n TXT x\n"), expected);
    assert_eq!(read("a A 10.0.0.1\r\n TXT x\r\n"), expected);
    assert_eq!(read("a A 10.0.0.1\r\n \r\n\tTXT ( x\r\n)"), expected);
    assert_eq!(read("\u{feff}a A 10.0.0.1\n TXT x ; no line feed"), expected);
}

#[test]
fn octets_beyond_utf8_in_strings() {
    let (file, problems) = read_all(b"a TXT \"\xff\x80\" \xfe\n", &key("example.com"), &[]);
    assert_eq!(problems, [""; 0]);
    assert_eq!(lines(&file), [r#"a.example.com. 5 IN TXT "\255\128" "\254""#]);
}
