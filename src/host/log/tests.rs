use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Scope, ScopedJoinHandle, scope};

use super::*;

/// Takes a line for each word it is sent; all of them once nobody sends.
struct Gate {
    words: Receiver<io::Result<()>>,
    out: Vec<u8>,
}

impl Write for Gate {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.words.recv().unwrap_or(Ok(()))?;
        self.out.extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn queue() -> &'static Queue {
    Box::leak(Box::default())
}

/// Writes to a gate, with what the log tells of itself; gives what was written.
fn writer<'s>(
    scope: &'s Scope<'s, '_>,
    queue: &'static Queue,
) -> (Sender<io::Result<()>>, ScopedJoinHandle<'s, String>) {
    let (send, words) = channel();
    // Whoever is the first to log at a place decides whether anybody listens there: another
    // test's thread, which has no subscriber of its own, must not say nobody.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry());
    let thread = scope.spawn(move || {
        let own = tracing_subscriber::fmt().without_time().with_target(false).with_ansi(false);
        let own = own.with_writer(move || queue).finish();
        let mut gate = Gate { words, out: Vec::new() };
        tracing::subscriber::with_default(own, || queue.write_to(&mut gate));
        String::from_utf8(gate.out).unwrap()
    });
    (send, thread)
}

/// Waits until `is_so` of the queue's state.
fn until(queue: &Queue, is_so: impl Fn(&State) -> bool) {
    while !is_so(&queue.state()) {
        thread::yield_now();
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_reader_that_sleeps_keeps_nobody_waiting() {
    let queue = queue();
    let (before, after) = (MAX_LINES + 1, 7);
    let written = scope(|scope| {
        let (gate, thread) = writer(scope, queue);
        queue.add(b"line 0\n");
        until(queue, |state| state.writing.is_some());
        for n in 1..before + after {
            queue.add(format!("line {n}\n").as_bytes());
        }
        let status = queue.status(Instant::now());
        assert_eq!(
            (status.waiting, status.dropped, status.write_errors),
            (before, after as u64, 0)
        );
        assert!(status.trouble.unwrap().starts_with("7 lines dropped, the last "));
        // One line of room is none yet.
        gate.send(Ok(())).unwrap();
        until(queue, |state| state.waiting.len() < MAX_LINES);
        queue.add(b"too early\n");
        drop(gate);
        until(queue, |state| !state.full);
        queue.end(PATIENCE);
        thread.join().unwrap()
    });
    let lines: Vec<_> = written.lines().collect();
    let expected: Vec<_> = (0..before).map(|n| format!("line {n}")).collect();
    assert_eq!(lines[..before], expected);
    assert!(lines[before].contains("WARN log lines were dropped here"), "{}", lines[before]);
    assert!(lines[before].ends_with(&format!("lines={}", after + 1)), "{}", lines[before]);
    assert_eq!(lines.len(), before + 1);
}

#[test]
fn a_reader_that_has_gone_ends_nothing() {
    let queue = queue();
    let written = scope(|scope| {
        let (gate, thread) = writer(scope, queue);
        let gone = || Err(ErrorKind::BrokenPipe.into());
        for n in 0..3 {
            gate.send(gone()).unwrap();
            queue.add(format!("line {n}\n").as_bytes());
        }
        until(queue, |state| state.unwritten.all == 3 && state.waiting() == 0);
        let status = queue.status(Instant::now());
        assert_eq!((status.waiting, status.dropped, status.write_errors), (0, 0, 3));
        assert!(status.trouble.unwrap().ends_with(": broken pipe"));
        drop(gate);
        queue.add(b"line 3\n");
        until(queue, |state| state.unwritten.untold == 0);
        queue.end(PATIENCE);
        thread.join().unwrap()
    });
    let (line, said) = written.split_once('\n').unwrap();
    assert_eq!(line, "line 3");
    assert!(said.contains("WARN log lines could not be written to stderr lines=3"), "{said}");
    assert_eq!(queue.status(Instant::now() + LATELY).trouble, None, "long ago");
}

#[test]
fn the_end_waits_for_the_writer_but_not_for_ever() {
    let queue = queue();
    scope(|scope| {
        let (gate, thread) = writer(scope, queue);
        queue.add(b"line 0\n");
        until(queue, |state| state.writing.is_some());
        queue.end(Duration::from_millis(1));
        assert_eq!(queue.status(Instant::now()).waiting, 1);
        let slow = queue.status(Instant::now() + SLOW).trouble.unwrap();
        assert!(slow.starts_with("what reads stderr takes nothing for 5 s, 1 lines"), "{slow}");
        drop(gate);
        assert_eq!(thread.join().unwrap(), "line 0\n");
    });
    assert_eq!(queue.status(Instant::now()).waiting, 0);
}

#[test]
fn octets_have_a_bound_too() {
    let queue = queue();
    let long = vec![b'x'; 2 * MAX_LINE];
    for _ in 0..=MAX_OCTETS / MAX_LINE {
        queue.add(&long);
    }
    let status = queue.status(Instant::now());
    assert_eq!((status.waiting, status.dropped), (MAX_OCTETS / MAX_LINE, 1));
    let mut out = Vec::new();
    queue.end(Duration::ZERO);
    queue.write_to(&mut out);
    assert_eq!(out.len(), MAX_OCTETS);
    assert!(out.ends_with("x…\n".as_bytes()));
    assert_eq!(queue.state().octets, 0);
    assert!(!queue.state().full);
}

#[test]
fn a_write_goes_on_where_it_stopped_and_pauses_where_it_cannot() {
    /// Takes two octets, then none for now, then is interrupted, and so on.
    #[derive(Default)]
    struct Few(Vec<u8>, usize);
    impl Write for Few {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.1 += 1;
            match self.1 % 3 {
                1 => self.0.write(&octets[..octets.len().min(2)]),
                2 => Err(ErrorKind::WouldBlock.into()),
                _ => Err(ErrorKind::Interrupted.into()),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (mut few, mut pauses) = (Few::default(), 0);
    write_whole(&mut few, &mut &b"a line\n"[..], &mut || pauses += 1).unwrap();
    assert_eq!(few.0, b"a line\n");
    assert_eq!(pauses, 3, "one for each time it would have blocked");
    let (mut four, mut line) = ([0; 4], &b"a line\n"[..]);
    let error = write_whole(&mut &mut four[..], &mut line, &mut || panic!("no reason"));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::WriteZero);
    assert_eq!((&four, line), (b"a li", &b"ne\n"[..]));
}

#[test]
fn a_line_that_was_cut_off_ends_there() {
    /// Four octets are all that fit on the disk, for a while.
    struct Full(Vec<u8>, bool);
    impl Write for Full {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            match 4_usize.saturating_sub(self.0.len()) {
                0 if !std::mem::replace(&mut self.1, false) => self.0.write(octets),
                0 => Err(ErrorKind::StorageFull.into()),
                room => self.0.write(&octets[..room.min(octets.len())]),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let queue = queue();
    queue.add(b"line 0\n");
    queue.add(b"line 1\n");
    queue.add(b"line 2\n");
    queue.end(Duration::ZERO);
    let mut full = Full(Vec::new(), true);
    queue.write_to(&mut full);
    assert_eq!(String::from_utf8(full.0).unwrap(), "line\nline 1\nline 2\n");
    assert_eq!(queue.status(Instant::now()).write_errors, 1);
}
