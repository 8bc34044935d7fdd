//! TCP, to the end.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_in_one_write_are_answered_in_order() {
    let (listeners, address, stats) = start(&listen(&["127.0.0.1:0"]), Echo);
    let stream = tcp(address);
    let all: Vec<u8> = (0..1000).flat_map(|number| framed(&numbered(number))).collect();
    (&stream).write_all(&all).unwrap();
    for number in 0..1000 {
        assert_eq!(next(&stream).unwrap(), numbered(number));
    }
    // Idle by now, so the drain closes it at once.
    assert_eq!(listeners.drain(TOO_LONG).await, 0);
    assert_eq!(next(&stream), None);
    let expected = stats::ConnectionTotals {
        accepted: 1,
        requests: 1000,
        replies: 1000,
        finished: 1,
        ..Default::default()
    };
    assert_eq!(stats.over(Transport::Tcp), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_messages_pass() {
    let (_listeners, address, _) = start(&listen(&["127.0.0.1:0"]), Echo);
    let stream = tcp(address);
    let requests: Vec<_> = (0..20).map(|number| vec![number; 65_535]).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            for request in &requests {
                (&stream).write_all(&framed(request)).unwrap();
            }
        });
        for request in &requests {
            assert!(next(&stream).unwrap() == *request);
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_closes_its_half_still_gets_its_answers() {
    let (_listeners, address, _) = start(&listen(&["127.0.0.1:0"]), Long);
    let stream = tcp(address);
    let all: Vec<u8> = (0..100).flat_map(|number| framed(&numbered(number))).collect();
    (&stream).write_all(&all).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    for _ in 0..100 {
        assert_eq!(next(&stream).unwrap().len(), 60_000);
    }
    assert_eq!(next(&stream), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_ends_the_connection() {
    let (listeners, address, stats) = start(&listen(&["127.0.0.1:0"]), Echo);
    for length in [0, 11] {
        let stream = tcp(address);
        let mut sent = framed(&numbered(1));
        sent.extend(framed(&vec![0; length]));
        (&stream).write_all(&sent).unwrap();
        assert_eq!(next(&stream).unwrap(), numbered(1));
        assert_eq!(next(&stream), None);
    }
    assert_eq!(listeners.drain(TOO_LONG).await, 0);
    assert_eq!(stats.over(Transport::Tcp).malformed, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_octet_at_a_time_is_idle_and_holds_nobody_up() {
    let mut listen = listen(&["127.0.0.1:0"]);
    listen.tcp_idle = Duration::from_millis(100);
    let (listeners, address, stats) = start(&listen, Echo);
    let slow = tcp(address);
    slow.set_nonblocking(true).unwrap();
    // A message of 65,535 octets, announced and never completed.
    let mut sent = 0;
    eventually("cut off", || {
        let _ = (&slow).write(&[0xFF]);
        sent += 1;
        assert_eq!(ask_tcp(&tcp(address), &numbered(sent)).unwrap(), numbered(sent));
        !matches!((&slow).read(&mut [0; 1]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    });
    assert!(sent < 65_535, "it was none of its octets that completed it");
    assert_eq!(listeners.drain(TOO_LONG).await, 0);
    assert_eq!(stats.over(Transport::Tcp).idle, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_is_bounded_closed_and_holds_nobody_up() {
    let mut listen = listen(&["127.0.0.1:0"]);
    listen.tcp_idle = Duration::from_millis(100);
    let (_listeners, address, stats) = start(&listen, Long);
    let stuck = tcp(address);
    stuck.set_nonblocking(true).unwrap();
    // 10,000 requests would make 600 MB of answers.
    let all: Vec<u8> = (0..10_000).flat_map(|number| framed(&numbered(number))).collect();
    let _ = (&stuck).write(&all).unwrap();
    eventually("taken as idle", || {
        assert!(ask_tcp(&tcp(address), &numbered(0)).is_some());
        stats.over(Transport::Tcp).idle >= 1
    });
    let others = stats.over(Transport::Tcp).accepted - 1;
    // What the kernel buffers on both sides, and one bounded output.
    assert!(
        stats.over(Transport::Tcp).requests - others < 1000,
        "{:?}",
        stats.over(Transport::Tcp)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_has_so_many_connections_and_no_more() {
    let mut listen = listen(&["127.0.0.1:0"]);
    listen.tcp_per_client = 2;
    let (_listeners, address, stats) = start(&listen, Echo);
    let both = [tcp(address), tcp(address)];
    for stream in &both {
        assert!(ask_tcp(stream, &numbered(1)).is_some());
    }
    assert_eq!(ask_tcp(&tcp(address), &numbered(2)), None);
    assert!(ask_tcp(&tcp_from("127.0.0.2:0", address), &numbered(3)).is_some());
    for stream in &both {
        assert!(ask_tcp(stream, &numbered(4)).is_some());
    }
    assert_eq!(stats.over(Transport::Tcp).refused_client, 1);
    let [first, _second] = both;
    drop(first);
    eventually("a place is free", || ask_tcp(&tcp(address), &numbered(5)).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_total_limit_the_inactive_one_makes_place() {
    let mut listen = listen(&["127.0.0.1:0"]);
    listen.tcp_clients = 2;
    let (listeners, address, stats) = start(&listen, Echo);
    let (first, second) = (tcp(address), tcp(address));
    assert!(ask_tcp(&first, &numbered(1)).is_some());
    assert!(ask_tcp(&second, &numbered(1)).is_some());
    let third = tcp(address);
    assert!(ask_tcp(&third, &numbered(1)).is_some());
    assert_eq!(next(&first), None);
    // The second is active, the third no longer.
    assert!(ask_tcp(&second, &numbered(2)).is_some());
    let fourth = tcp(address);
    assert!(ask_tcp(&fourth, &numbered(1)).is_some());
    assert!(ask_tcp(&fourth, &numbered(2)).is_some());
    assert_eq!(listeners.drain(TOO_LONG).await, 0);
    assert_eq!(stats.over(Transport::Tcp).evicted, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_flight_are_answered_before_the_end() {
    let (held, entered) = Held::new();
    let (listeners, address, _) = start(&listen(&["127.0.0.1:0"]), held.clone());
    let idle = tcp(address);
    let busy = tcp(address);
    (&busy).write_all(&framed(&numbered(0))).unwrap();
    entered.recv_timeout(TOO_LONG).unwrap();
    // These wait in the kernel; the last one is not whole.
    let mut more: Vec<u8> = (1..500).flat_map(|number| framed(&numbered(number))).collect();
    more.extend([0, 12, 0]);
    (&busy).write_all(&more).unwrap();
    let mut drain = pin!(listeners.drain(TOO_LONG));
    assert!(poll(drain.as_mut()).is_pending());
    assert_eq!(next(&idle), None);
    held.release();
    assert_eq!(drain.await, 0);
    for number in 0..500 {
        assert_eq!(next(&busy).unwrap(), numbered(number));
    }
    assert_eq!(next(&busy), None);
    assert!(TcpStream::connect(address).is_err());
}

// One thread for all tasks: nothing is accepted before the drain begins.
#[tokio::test(flavor = "current_thread")]
async fn connections_in_the_backlog_are_answered_before_the_end() {
    let (listeners, address, stats) = start(&listen(&["127.0.0.1:0"]), Echo);
    let waiting: Vec<_> = (0..10).map(|_| tcp(address)).collect();
    for stream in &waiting {
        (&*stream).write_all(&framed(&numbered(1))).unwrap();
    }
    assert_eq!(stats.over(Transport::Tcp).accepted, 0);
    assert_eq!(listeners.drain(TOO_LONG).await, 0);
    for stream in &waiting {
        assert_eq!(next(stream).unwrap(), numbered(1));
        assert_eq!(next(stream), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_is_cut_off_at_the_deadline() {
    let (listeners, address, stats) = start(&listen(&["127.0.0.1:0"]), Long);
    let stuck = tcp(address);
    let all: Vec<u8> = (0..1000).flat_map(|number| framed(&numbered(number))).collect();
    (&stuck).write_all(&all).unwrap();
    assert!(next(&stuck).is_some(), "it has begun");
    assert_eq!(listeners.drain(Duration::from_millis(200)).await, 1);
    assert_eq!(stats.over(Transport::Tcp).cut, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_never_stops_sending_is_cut_off_at_the_deadline() {
    let (entered, told) = mpsc::channel();
    let (listeners, address, _) = start(&listen(&["127.0.0.1:0"]), Silent { entered });
    let all: Vec<u8> = (0..5000).flat_map(|number| framed(&numbered(number))).collect();
    let start = Instant::now();
    let flood = thread::spawn(move || {
        let mut stream = tcp(address);
        while start.elapsed() < TOO_LONG && stream.write_all(&all).is_ok() {}
    });
    told.recv_timeout(TOO_LONG).unwrap();
    assert_eq!(listeners.drain(Duration::from_millis(200)).await, 1);
    assert!(start.elapsed() < TOO_LONG);
    flood.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_listeners_give_their_address_back() {
    let (listeners, address, _) = start(&listen(&["127.0.0.1:0"]), Echo);
    let stream = tcp(address);
    assert!(ask_tcp(&stream, &numbered(1)).is_some());
    drop(listeners);
    assert_eq!(next(&stream), None);
    let again = listen(&[&address.to_string()]);
    eventually("bound again", || bind(&again).is_ok());
}
