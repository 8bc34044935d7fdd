//! Other sockets, limits and workers while it runs.

use super::*;

/// Turns to `listen`; says what was opened and what was closed.
async fn reload<R: Respond>(
    listeners: &mut Listeners<R>,
    listen: &Listen,
) -> (Vec<Opened>, Vec<SocketAddr>) {
    let prepared = listeners.prepare(listen).unwrap();
    let closed = listeners.close(&prepared).await;
    (listeners.open(prepared), closed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_prepared_answers_once_it_is_opened_and_what_goes_has_gone_before() {
    let before = listen(&["127.0.0.1:0"]);
    let (mut listeners, old, stats) = start(&before, Echo);
    let after = listen(&["127.0.0.2:0"]);
    let prepared = listeners.prepare(&after).unwrap();
    let new = prepared.opened[0].address;
    // What comes early waits.
    let (socket, stream) = (udp(new), tcp(new));
    socket.send(&numbered(1)).unwrap();
    (&stream).write_all(&framed(&numbered(2))).unwrap();
    assert_eq!(ask_udp(&udp(old), &numbered(3)), numbered(3));
    listeners.close(&prepared).await;
    assert_eq!(udp_sockets(old), 0, "closed before others are opened");
    let read = (stats.udp().received, stats.over(Transport::Tcp).accepted);
    assert_eq!(read, (1, 0), "of what came early nothing is read");
    listeners.open(prepared);
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(buffer[..length], numbered(1));
    assert!(next(&stream).is_some());
    // What was prepared and is not wanted leaves nothing behind.
    let prepared = listeners.prepare(&listen(&["127.0.0.4:0", "127.0.0.2:0"])).unwrap();
    let dropped = prepared.opened[0].address;
    drop(prepared);
    eventually("it is closed", || udp_sockets(dropped) == 0);
    assert_eq!(ask_udp(&udp(new), &numbered(4)), numbered(4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_leaves_unchanged_sockets_alone() {
    let mut before = listen(&["127.0.0.1:0"]);
    before.workers = 1;
    let (held, entered) = Held::new();
    let (mut listeners, old, _) = start(&before, held.clone());
    let socket = udp(old);
    socket.send(&numbered(0)).unwrap();
    entered.recv_timeout(TOO_LONG).unwrap();
    for number in 1..100 {
        socket.send(&numbered(number)).unwrap();
    }

    let mut after = before.clone();
    after.dns.insert(0, "127.0.0.2:0".parse().unwrap());
    let (opened, closed) = reload(&mut listeners, &after).await;
    let [new, kept] = listeners.addresses()[..] else { panic!("two addresses") };
    assert_eq!(kept, old);
    assert_eq!(opened.iter().map(|opened| opened.address).collect::<Vec<_>>(), [new]);
    assert!(opened[0].on_host && opened[0].receive_buffer > 0);
    assert!(closed.is_empty());

    held.release();
    let mut buffer = [0; 64];
    for number in 0..100 {
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..length], numbered(number));
    }
    assert_eq!(ask_udp(&udp(new), &numbered(7)), numbered(7));
    assert!(ask_tcp(&tcp(new), &numbered(7)).is_some());

    // Now the first one goes.
    let last = tcp(old);
    assert!(ask_tcp(&last, &numbered(8)).is_some());
    after.dns.pop();
    let (opened, closed) = reload(&mut listeners, &after).await;
    assert_eq!((opened, closed), (vec![], vec![old]));
    assert_eq!(next(&last), None);
    eventually("it is closed", || udp_sockets(old) == 0 && TcpStream::connect(old).is_err());
    assert_eq!(ask_udp(&udp(new), &numbered(9)), numbered(9));
    assert_eq!(listeners.drain(TOO_LONG).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_fails_changes_nothing() {
    let before = listen(&["127.0.0.1:0"]);
    let (listeners, address, _) = start(&before, Echo);
    let stream = tcp(address);
    assert!(ask_tcp(&stream, &numbered(1)).is_some());
    let other = std::net::TcpListener::bind("127.0.0.3:0").unwrap();
    let taken = other.local_addr().unwrap();
    // The first could be had, the second not; ours would go.
    let wanted = listen(&["127.0.0.2:0", &taken.to_string()]);
    let Err(error) = listeners.prepare(&wanted) else { panic!("it is taken") };
    let error = error.to_string();
    assert!(error.starts_with(&format!("cannot listen on {taken} (TCP): ")), "{error}");
    assert_eq!(listeners.addresses(), [address]);
    assert!(ask_tcp(&stream, &numbered(2)).is_some());
    assert_eq!(ask_udp(&udp(address), &numbered(3)), numbered(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_come_and_go() {
    let mut listen = listen(&["127.0.0.1:0"]);
    listen.workers = 1;
    let (mut listeners, address, stats) = start(&listen, Echo);
    let mut asked = 0;
    for workers in [3, 1, 2] {
        listen.workers = workers;
        reload(&mut listeners, &listen).await;
        eventually("as many sockets as workers", || udp_sockets(address) == workers);
        for number in 0..32 {
            assert_eq!(ask_udp(&udp(address), &numbered(number)), numbered(number));
            asked += 1;
        }
    }
    listeners.drain(TOO_LONG).await;
    assert_eq!(stats.udp().sent, asked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_limits_hold_after_a_reload() {
    let mut listen = listen(&["127.0.0.1:0", "127.0.0.1:0"]);
    let (mut listeners, address, _) = start(&listen, Echo);
    assert_eq!(listeners.addresses().len(), 1, "the same address twice is one");
    let first = tcp(address);
    assert!(ask_tcp(&first, &numbered(1)).is_some());
    listen.tcp_per_client = 1;
    reload(&mut listeners, &listen).await;
    assert_eq!(ask_tcp(&tcp(address), &numbered(2)), None);
    assert!(ask_tcp(&first, &numbered(3)).is_some());
}
