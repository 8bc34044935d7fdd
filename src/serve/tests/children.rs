//! What takes a process of its own.

use super::*;

/// The program of the tests below; does nothing in an ordinary run. Says where
/// it listens, then its counter of accept errors for each line it is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn child() {
    if std::env::var_os("EIPDNS_TEST_CHILD").is_none() {
        return;
    }
    let mut listen = listen(&["127.0.0.1:0"]);
    listen.tcp_clients = 1000;
    listen.tcp_per_client = 1000;
    let (_listeners, address, stats) = start(&listen, Echo);
    println!("\nchild: {address}");
    for line in std::io::stdin().lines() {
        line.unwrap();
        println!("\nchild: {}", stats.over(Transport::Tcp).accept_errors);
    }
}

struct Process {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    address: SocketAddr,
}

impl Process {
    /// Runs [`child`] with at most `descriptors` of them.
    fn start(descriptors: usize) -> Self {
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("ulimit -n {descriptors} && exec \"$0\" \"$@\""))
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "serve::tests::children::child", "--nocapture"])
            .env("EIPDNS_TEST_CHILD", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut process = Self { child, lines, address };
        process.address = process.line().parse().unwrap();
        process
    }

    fn line(&mut self) -> String {
        let mut lines = self.lines.by_ref().map(Result::unwrap);
        lines.find_map(|line| line.strip_prefix("child: ").map(str::to_owned)).unwrap()
    }

    fn accept_errors(&mut self) -> u64 {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        self.line().parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_address_held_by_another_process_is_refused_and_the_process_named() {
    let process = Process::start(64);
    let error = bind(&listen(&[&process.address.to_string()])).unwrap_err();
    let BindError::Held { address, protocol: bind::Protocol::Tcp, holder } = &error else {
        panic!("{error}")
    };
    assert_eq!((*address, holder.pid), (process.address, process.child.id()));
}

#[test]
fn without_descriptors_it_waits_and_goes_on() {
    let mut process = Process::start(48);
    let start = Instant::now();
    let address = process.address;
    let streams: Vec<_> = (0..80).map(|_| tcp(address)).collect();
    // Trouble, and then more of it: it did not give up.
    let mut errors = 0;
    eventually("five errors", || {
        errors = process.accept_errors();
        errors >= 5
    });
    // One attempt in each pause of 100 ms, not thousands; two for the ends.
    let allowed = start.elapsed().as_millis() / 100 + 2;
    assert!(u128::from(errors) <= allowed, "{errors} attempts, {allowed} allowed");
    drop(streams);
    assert!(ask_tcp(&tcp(address), &numbered(1)).is_some());
    assert_eq!(ask_udp(&udp(address), &numbered(2)), numbered(2));
}
