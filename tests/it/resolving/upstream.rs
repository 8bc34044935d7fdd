//! An upstream that does what a test tells it to, over UDP and TCP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use hickory_proto::op::{Edns, Message, MessageType, ResponseCode};
use hickory_proto::rr::RecordType;

use super::records::record;
use crate::authority::daemon::free_port;
use crate::harness::PATIENCE;

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Via {
    Udp,
    Tcp,
}

/// A question that reached the upstream.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) message: Message,
    pub(super) octets: Vec<u8>,
    pub(super) via: Via,
    pub(super) at: Instant,
}

/// What the upstream does about a question.
pub(super) enum Answer {
    /// These messages, in this order.
    Say(Vec<Vec<u8>>),
    /// The first half of this message; then, over TCP, the connection ends.
    Half(Vec<u8>),
    /// Nothing, and a TCP connection stays open.
    Silence,
}

impl From<Message> for Answer {
    fn from(message: Message) -> Self {
        Self::Say(vec![message.to_vec().unwrap()])
    }
}

impl Asked {
    /// The first question's name, in lower case.
    pub(super) fn name(&self) -> String {
        self.message.queries[0].name().to_ascii().to_lowercase()
    }

    /// The first label of that name.
    pub(super) fn label(&self) -> String {
        self.name().split('.').next().unwrap_or_default().to_owned()
    }

    pub(super) fn rtype(&self) -> RecordType {
        self.message.queries[0].query_type()
    }

    /// An answer without records, as of a resolver.
    pub(super) fn reply(&self) -> Message {
        let mut message = self.message.clone();
        message.metadata.message_type = MessageType::Response;
        message.metadata.recursion_available = true;
        message.metadata.authentic_data = false;
        message.edns = self.message.edns.as_ref().map(|theirs| {
            let mut edns = Edns::new();
            edns.set_dnssec_ok(theirs.flags().dnssec_ok);
            edns
        });
        message
    }

    /// An answer with these records.
    pub(super) fn with(&self, records: &[&str]) -> Message {
        let mut message = self.reply();
        message.answers = records.iter().map(|line| record(line)).collect();
        message
    }

    /// An answer that is an error.
    pub(super) fn error(&self, rcode: ResponseCode) -> Message {
        let mut message = self.reply();
        message.metadata.response_code = rcode;
        message
    }

    /// TC, and nothing else.
    pub(super) fn truncated(&self) -> Message {
        let mut message = self.reply();
        message.metadata.truncation = true;
        message
    }
}

/// A running upstream.
pub(super) struct Upstream {
    /// Where it answers.
    pub(super) at: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    answers: Mutex<Arc<Handler>>,
    log: Mutex<Vec<Asked>>,
    more: Condvar,
    over: AtomicBool,
    /// Loop probes, which come when a server starts, are answered as any
    /// question. Otherwise with NXDOMAIN, and no test sees them.
    sees_probes: bool,
}

type Handler = dyn Fn(&Asked) -> Answer + Send + Sync;

impl Upstream {
    /// On a free port. `answers` may take its time: each question has a thread
    /// of its own.
    pub(super) fn start(answers: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self::on_free_port(Arc::new(answers), false)
    }

    /// The same, with loop probes being questions like others.
    pub(super) fn seeing_probes(
        answers: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::on_free_port(Arc::new(answers), true)
    }

    fn on_free_port(answers: Arc<Handler>, sees_probes: bool) -> Self {
        // Somebody may take the port in between.
        let (udp, tcp) = (0..100)
            .find_map(|_| {
                let at = free_port();
                Some((UdpSocket::bind(at).ok()?, TcpListener::bind(at).ok()?))
            })
            .expect("a free port");
        let at = udp.local_addr().unwrap();
        let shared = Arc::new(Shared {
            answers: Mutex::new(answers),
            log: Mutex::default(),
            more: Condvar::new(),
            over: AtomicBool::new(false),
            sees_probes,
        });
        let of_udp = Arc::clone(&shared);
        std::thread::spawn(move || of_udp.serve_udp(&udp));
        let of_tcp = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in tcp.incoming().map_while(Result::ok) {
                if of_tcp.over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&of_tcp);
                std::thread::spawn(move || shared.serve_tcp(stream));
            }
        });
        Self { at, shared }
    }

    /// From now on it does this.
    pub(super) fn change(&self, answers: impl Fn(&Asked) -> Answer + Send + Sync + 'static) {
        *self.shared.answers.lock().unwrap() = Arc::new(answers);
    }

    /// All it was asked but for loop probes and checks.
    pub(super) fn asked(&self) -> Vec<Asked> {
        let log = self.shared.log.lock().unwrap();
        log.iter().filter(|asked| !is_probe(asked) && !is_check(asked)).cloned().collect()
    }

    /// How often it was asked whether it lives.
    pub(super) fn checks(&self) -> usize {
        self.shared.log.lock().unwrap().iter().filter(|asked| is_check(asked)).count()
    }

    /// How much that is, about: loop probes and checks among it.
    pub(super) fn len(&self) -> usize {
        self.shared.log.lock().unwrap().len()
    }

    /// The same as "name type", over UDP or TCP.
    pub(super) fn names(&self) -> Vec<String> {
        let text = |asked: Asked| format!("{} {}", asked.name(), asked.rtype());
        self.asked().into_iter().map(text).collect()
    }

    /// How often it was asked for a name.
    pub(super) fn count(&self, name: &str) -> usize {
        self.asked().iter().filter(|asked| asked.name() == name).count()
    }

    /// Waits until it was asked `times` for a name.
    pub(super) fn wait_for(&self, name: &str, times: usize) {
        let log = self.shared.log.lock().unwrap();
        let few = |log: &mut Vec<Asked>| log.iter().filter(|a| a.name() == name).count() < times;
        let (log, late) = self.shared.more.wait_timeout_while(log, PATIENCE, few).unwrap();
        assert!(!late.timed_out(), "{name} was not asked for {times} times: {log:#?}");
    }
}

fn is_probe(asked: &Asked) -> bool {
    asked.name().contains("eipdns-loop")
}

/// Does the server want to know whether the upstream lives? Answered as any
/// question is.
fn is_check(asked: &Asked) -> bool {
    asked.name() == "." && asked.rtype() == RecordType::SOA
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // Both wake a thread that looks whether it is over; it may have ended.
        let _ = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(&[0], self.at));
        let _ = TcpStream::connect(self.at);
    }
}

impl Shared {
    fn serve_udp(self: &Arc<Self>, socket: &UdpSocket) {
        let mut octets = vec![0; 65_535];
        while let Ok((len, from)) = socket.recv_from(&mut octets) {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            let asked = self.note(octets[..len].to_vec(), Via::Udp);
            let (shared, socket) = (Arc::clone(self), socket.try_clone().unwrap());
            std::thread::spawn(move || {
                let messages = match shared.answer(&asked) {
                    Answer::Say(messages) => messages,
                    Answer::Half(message) => vec![message[..message.len() / 2].to_vec()],
                    Answer::Silence => vec![],
                };
                for message in messages {
                    // Whoever asked may be gone.
                    let _ = socket.send_to(&message, from);
                }
            });
        }
    }

    /// Until the client ends it, or something goes wrong on the way.
    fn serve_tcp(&self, mut stream: TcpStream) -> Option<()> {
        loop {
            let mut len = [0; 2];
            stream.read_exact(&mut len).ok()?;
            let mut octets = vec![0; u16::from_be_bytes(len).into()];
            stream.read_exact(&mut octets).ok()?;
            let asked = self.note(octets, Via::Tcp);
            let framed = |message: &[u8]| [&(message.len() as u16).to_be_bytes(), message].concat();
            match self.answer(&asked) {
                Answer::Say(messages) => {
                    for message in messages {
                        stream.write_all(&framed(&message)).ok()?;
                    }
                }
                Answer::Half(message) => {
                    let framed = framed(&message);
                    stream.write_all(&framed[..framed.len() / 2]).ok()?;
                    return None;
                }
                Answer::Silence => {}
            }
        }
    }

    fn answer(&self, asked: &Asked) -> Answer {
        if is_probe(asked) && !self.sees_probes {
            return asked.error(ResponseCode::NXDomain).into();
        }
        let answers = Arc::clone(&self.answers.lock().unwrap());
        answers(asked)
    }

    fn note(&self, octets: Vec<u8>, via: Via) -> Asked {
        let at = Instant::now();
        let message = Message::from_vec(&octets).expect("a query of ours can be read");
        let asked = Asked { message, octets, via, at };
        self.log.lock().unwrap().push(asked.clone());
        self.more.notify_all();
        asked
    }
}
