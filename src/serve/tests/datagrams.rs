//! UDP.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_of_many_clients_is_answered() {
    let (listeners, address, stats) = start(&listen(&["127.0.0.1:0"]), Echo);
    let clients: Vec<_> = (0..8)
        .map(|client| {
            thread::spawn(move || {
                let socket = udp(address);
                for number in 0..500 {
                    let request = numbered(client * 1000 + number);
                    assert_eq!(ask_udp(&socket, &request), request);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert_eq!(listeners.drain(TOO_LONG).await, 0);
    let expected = stats::UdpTotals { received: 4000, sent: 4000, ..Default::default() };
    assert_eq!(stats.udp(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_burst_larger_than_a_batch_is_answered_whole() {
    let mut listen = listen(&["127.0.0.1:0"]);
    listen.workers = 1;
    let (held, entered) = Held::new();
    let (_listeners, address, _) = start(&listen, held.clone());
    let socket = udp(address);
    for number in 0..200 {
        socket.send(&numbered(number)).unwrap();
    }
    entered.recv_timeout(TOO_LONG).unwrap();
    held.release();
    let mut buffer = [0; 64];
    for number in 0..200 {
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..length], numbered(number));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_wildcard_answers_from_the_address_it_was_asked_at() {
    let (_listeners, bound, _) = start(&listen(&["0.0.0.0:0"]), Who);
    for ip in [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3), Ipv4Addr::LOCALHOST] {
        let address = SocketAddr::new(ip.into(), bound.port());
        let socket = udp(address);
        let expected = format!("{} {address}", socket.local_addr().unwrap());
        assert_eq!(ask_udp(&socket, &[]), expected.as_bytes());
        let stream = tcp(address);
        let expected = format!("{} {address}", stream.local_addr().unwrap());
        assert_eq!(ask_tcp(&stream, &[0; 12]).unwrap(), expected.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn ipv6_and_its_wildcard() {
    for text in ["[::]:0", "[::1]:0"] {
        let Ok(bound) = bind(&listen(&[text])) else {
            assert!(UdpSocket::bind("[::1]:0").is_err(), "{text} failed though there is IPv6");
            return;
        };
        let listeners = bound.start(Who, Arc::default()).unwrap();
        let address: SocketAddr =
            format!("[::1]:{}", listeners.addresses()[0].port()).parse().unwrap();
        let socket = udp(address);
        let expected = format!("{} {address}", socket.local_addr().unwrap());
        assert_eq!(ask_udp(&socket, &[]), expected.as_bytes());
        let stream = tcp(address);
        let expected = format!("{} {address}", stream.local_addr().unwrap());
        assert_eq!(ask_tcp(&stream, &[0; 12]).unwrap(), expected.as_bytes());
    }
    // The IPv6 wildcard is not the IPv4 one: both can be had, on one port.
    // Whoever has that port by chance is why this may be tried again.
    eventually("both wildcards", || {
        let Ok(bound) = bind(&listen(&["[::]:0"])) else { return false };
        let other = format!("0.0.0.0:{}", bound.opened()[0].address.port());
        bind(&listen(&[&other])).is_ok()
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn requests_too_long_are_dropped_and_counted() {
    let (listeners, address, stats) = start(&listen(&["127.0.0.1:0"]), Who);
    let socket = udp(address);
    socket.send(&[0; MAX_UDP + 1]).unwrap();
    assert!(!ask_udp(&socket, &[0; MAX_UDP]).is_empty());
    listeners.drain(TOO_LONG).await;
    let expected = stats::UdpTotals { received: 2, sent: 1, dropped: 1, ..Default::default() };
    assert_eq!(stats.udp(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_waits_in_the_queue_is_answered_before_the_end() {
    let mut listen = listen(&["127.0.0.1:0"]);
    listen.workers = 1;
    let (held, entered) = Held::new();
    let (listeners, address, stats) = start(&listen, held.clone());
    let socket = udp(address);
    socket.send(&numbered(0)).unwrap();
    entered.recv_timeout(TOO_LONG).unwrap();
    for number in 1..200 {
        socket.send(&numbered(number)).unwrap();
    }
    let mut drain = pin!(listeners.drain(TOO_LONG));
    assert!(poll(drain.as_mut()).is_pending());
    held.release();
    assert_eq!(drain.await, 0);
    assert_eq!(stats.udp().sent, 200);
    let mut buffer = [0; 64];
    for number in 0..200 {
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..length], numbered(number));
    }
    assert_eq!(udp_sockets(address), 0);
}
