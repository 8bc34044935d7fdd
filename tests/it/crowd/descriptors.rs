//! 1,024 descriptors, and everybody who can take some at work at once.

use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use crate::fixtures::connections::{ask, connect_from, is_closed, start_with_descriptors};
use crate::fixtures::promtool::Scrape;
use crate::fixtures::waiting::eventually;
use crate::harness::{Dir, Server, query};

const LIMIT: usize = 1024;

fn dir(upstream: SocketAddr) -> Dir {
    let dir = Dir::forwarding(&[upstream], "");
    dir.http();
    dir.edit("127.0.0.0/8", "127.0.0.0/24");
    dir
}

/// Asks for names that nobody has asked for yet, from several addresses.
struct Flood {
    sockets: Vec<UdpSocket>,
    next: usize,
}

impl Flood {
    fn new(to: SocketAddr) -> Self {
        let socket = |nth: u8| {
            let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 200 + nth), 0)).unwrap();
            socket.connect(to).unwrap();
            socket
        };
        Self { sockets: (0..8).map(socket).collect(), next: 0 }
    }

    fn ask(&mut self, count: usize) {
        for nth in self.next..self.next + count {
            let name = format!("name-{nth}.flood.test.");
            let octets = query(&name, RecordType::A).to_vec().unwrap();
            self.sockets[nth % self.sockets.len()].send(&octets).unwrap();
        }
        self.next += count;
    }
}

/// What the server has open, as the system sees it.
fn open(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

#[test]
fn what_clients_and_upstreams_take_leaves_enough_for_the_rest() {
    // It never answers, and what it is sent piles up unread.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let dir = dir(silent.local_addr().unwrap());
    let mut server = start_with_descriptors(dir.path(), LIMIT);
    let (dns, http) = (server.dns, server.http());
    let mut most = 0;
    let mut flood = Flood::new(dns);

    let web: Vec<TcpStream> = (0..1100).map(|_| TcpStream::connect(&http).unwrap()).collect();
    most = most.max(open(&server));
    flood.ask(500);
    let clients: Vec<TcpStream> =
        (0..1000usize).map(|nth| connect_from([127, 0, 0, (nth % 100) as u8 + 2], dns)).collect();
    most = most.max(open(&server));
    let strangers: Vec<TcpStream> =
        (0..500usize).map(|nth| connect_from([127, 0, 1, (nth % 20) as u8 + 1], dns)).collect();
    // Until the first questions are given up: second tries have their sockets too.
    let timeouts = format!("upstream=\"{}\",event=\"timeout\"", silent.local_addr().unwrap());
    eventually("questions that are given up", || {
        flood.ask(100);
        most = most.max(open(&server));
        Scrape::of(&http).value("eipdns_upstream_queries_total", &timeouts) > 100.0
    });

    // All of it at once, and the rest goes on.
    flood.ask(500);
    server.moves(&dir, "10.0.1.7");
    assert_eq!(server.data("db.example.com.", RecordType::A), ["10.0.1.7"]);
    for nth in 0..20 {
        let newcomer = connect_from([127, 0, 0, 1], dns);
        let answer = ask(&newcomer, "db.example.com.").unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{nth}");
    }
    dir.wait_for_state("10.0.1.7");
    // A reload too: more is opened before anything is closed.
    server.reload();

    let metrics = Scrape::of(&http);
    let value = |name: &str| metrics.sample(name);
    most = most.max(open(&server));
    assert!(most < LIMIT, "{most} descriptors were open");
    assert_eq!(value("eipdns_descriptors_limit"), LIMIT as f64);
    let counted = value("eipdns_descriptors_open");
    assert!(counted > 200.0 && counted < LIMIT as f64, "{counted}");
    assert_eq!(value("eipdns_tcp_connections_total{event=\"accept_error\"}"), 0.0);
    assert_eq!(value("eipdns_http_connections_total{event=\"accept_error\"}"), 0.0);
    assert_eq!(value("eipdns_state_writable"), 1.0);
    assert_eq!(value("eipdns_source_healthy{source=\"sample\"}"), 1.0);
    // It was full: else this shows nothing.
    assert!(web.iter().filter(|s| is_closed(s)).count() >= 800);
    assert!(clients.iter().filter(|s| is_closed(s)).count() >= 500);
    assert!(strangers.iter().filter(|s| is_closed(s)).count() >= 400);
    assert!(value("eipdns_forward_shed_total{limit=\"flights\"}") > 0.0);

    // It was said at the start, with what to do about it.
    let lines = server.lines();
    let said = lines.iter().find(|l| l["fields"]["message"] == "descriptors").unwrap();
    assert_eq!(said["fields"]["limit"], LIMIT);
    let warned =
        |line: &serde_json::Value| line["level"] == "WARN" && line["fields"]["wanted"].is_u64();
    assert!(lines.iter().find(|l| warned(l)).unwrap().to_string().contains("LimitNOFILE="));
    let told = server.shown_status(&dir);
    assert!(told.contains("descriptors: ") && told.contains(" of 1024 open"), "{told}");
}
