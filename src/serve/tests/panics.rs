//! What a panic ends.

use super::*;

/// Panics when told to: asked, or cloned.
#[derive(Debug)]
struct Fragile {
    clones: Option<Arc<Mutex<bool>>>,
}

impl Clone for Fragile {
    fn clone(&self) -> Self {
        let fatal = self.clones.as_ref().is_some_and(|fatal| *fatal.lock().unwrap());
        assert!(!fatal, "a test of what a panic does");
        Self { clones: self.clones.clone() }
    }
}

impl Respond for Fragile {
    fn respond(&mut self, _: &Asker, _: Transport, _: &[u8], _: &mut Vec<u8>) -> Action {
        panic!("a test of what a panic does")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_panics_is_reported() {
    let (mut listeners, address, _) = start(&listen(&["127.0.0.1:0"]), Fragile { clones: None });
    let mut failed = pin!(listeners.failed());
    assert!(poll(failed.as_mut()).is_pending());
    udp(address).send(&[0]).unwrap();
    assert_eq!(failed.await.what, format!("UDP worker of {address}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_accept_loop_that_panics_is_reported() {
    let fatal = Arc::new(Mutex::new(false));
    let fragile = Fragile { clones: Some(Arc::clone(&fatal)) };
    let (mut listeners, address, _) = start(&listen(&["127.0.0.1:0"]), fragile);
    *fatal.lock().unwrap() = true;
    let _stream = tcp(address);
    assert_eq!(listeners.failed().await.what, format!("accept loop of {address}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_panics_costs_only_itself() {
    let (listeners, address, stats) = start(&listen(&["127.0.0.1:0"]), Fragile { clones: None });
    for _ in 0..2 {
        assert_eq!(ask_tcp(&tcp(address), &numbered(1)), None);
    }
    listeners.drain(TOO_LONG).await;
    assert_eq!((stats.over(Transport::Tcp).accepted, stats.over(Transport::Tcp).broken), (2, 2));
}
