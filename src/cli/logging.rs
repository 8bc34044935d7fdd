//! What of the log is shown, and in which form: for people, in colours on a
//! terminal, or as JSON by a flag. A packet never logs above debug.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};

use clap::Args;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

use crate::host::log::{self, FlushGuard, Queue, STDERR};
use crate::host::panics;
use crate::host::text::{OneLine, one_line};

/// What is said whatever level is asked for: why the server does not start or
/// ends, and what of the log is lost. Of other crates errors only: the AWS SDK
/// tells each failure at length, again and again, and so do we, once.
const ALWAYS: &str = "error,eipdns::cli=warn,eipdns::host::log=warn,eipdns::host::panics=error";

/// What is logged and how.
#[derive(Debug, Clone, Args)]
pub(super) struct Logging {
    /// What to log: error, warn, info, debug, trace or off, and directives such
    /// as `info,eipdns::source=debug`; other crates (`aws_config=debug`) only
    /// by their names
    #[arg(
        long,
        value_name = "LEVEL",
        env = "EIPDNS_LOG",
        default_value = "info",
        value_parser = filter
    )]
    log: EnvFilter,
    /// One JSON object a line
    #[arg(long)]
    log_json: bool,
}

impl Logging {
    /// Starts logging to stderr, panics included, until the guard is dropped.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start(&self) -> io::Result<FlushGuard> {
        let guard = log::start()?;
        // Nothing but us writes to stderr, and that cannot fail.
        let base = tracing_subscriber::fmt()
            .with_env_filter(self.log.clone())
            .log_internal_errors(false)
            .with_target(false);
        // Fails only when a logger is already there, as in tests.
        let started = if self.log_json {
            base.json().with_writer(|| JsonLines(&STDERR)).try_init()
        } else {
            base.with_ansi(io::stderr().is_terminal())
                .fmt_fields(Fields)
                .with_writer(|| &STDERR)
                .try_init()
        };
        drop(started);
        panics::log_them();
        Ok(guard)
    }
}

/// A level alone is ours; other crates log what they are asked for by name.
fn filter(text: &str) -> Result<EnvFilter, ParseError> {
    let mut all = ALWAYS.to_owned();
    for directive in text.split(',').map(str::trim).filter(|d| !d.is_empty()) {
        let is_level = directive.parse::<LevelFilter>().is_ok();
        all += if is_level { ",eipdns=" } else { "," };
        all += directive;
    }
    all.parse()
}

/// Fields as people read them: `message name=value`, each in one line whatever
/// is in it.
struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = Line { writer, is_empty: true, result: Ok(()) };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'w> {
    writer: Writer<'w>,
    is_empty: bool,
    result: fmt::Result,
}

impl Line<'_> {
    fn write(&mut self, name: &str, value: &dyn fmt::Debug) -> fmt::Result {
        // Where records of the crate `log` come from.
        if name.starts_with("log.") {
            return Ok(());
        }
        if !std::mem::replace(&mut self.is_empty, false) {
            self.writer.write_char(' ')?;
        }
        match name {
            "message" => {}
            // Italic and faint (ECMA-48, "SGR").
            _ if self.writer.has_ansi_escapes() => {
                write!(self.writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m")?;
            }
            _ => write!(self.writer, "{name}=")?,
        }
        write!(OneLine(&mut self.writer), "{value:?}")
    }
}

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.record_debug(field, &format_args!("{value}")),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.result = self.result.and_then(|()| self.write(field.name(), value));
    }
}

/// What JSON leaves as it is although a terminal obeys it.
struct JsonLines(&'static Queue);

impl Write for JsonLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        self.0.add(format!("{}\n", one_line(text)).as_bytes());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> &'static Queue {
        Box::leak(Box::default())
    }

    /// What is in it.
    fn lines(queue: &Queue) -> String {
        let mut out = Vec::new();
        queue.end(std::time::Duration::ZERO);
        queue.write_to(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn say() {
        let evil = "a\u{1b}[2J\nINFO\u{9b}";
        tracing::warn!(target: "eipdns::x", evil, shown = %evil, "a\r{evil}");
    }

    #[test]
    fn a_line_is_a_line_whatever_is_in_it() {
        let queue = queue();
        let log = tracing_subscriber::fmt().without_time().with_target(false);
        let log = log.with_ansi(false).fmt_fields(Fields).with_writer(move || queue);
        tracing::subscriber::with_default(log.finish(), say);
        let shown = r"a\u001b[2J\nINFO\u009b";
        let debug = r#""a\u{1b}[2J\nINFO\u{9b}""#;
        assert_eq!(lines(queue), format!(" WARN a\\r{shown} evil={debug} shown={shown}\n"));
    }

    #[test]
    fn names_are_styled_on_a_terminal_and_values_cannot_be() {
        let queue = queue();
        let log = tracing_subscriber::fmt().without_time().with_target(false);
        let log = log.with_ansi(true).fmt_fields(Fields).with_writer(move || queue);
        tracing::subscriber::with_default(log.finish(), say);
        let said = lines(queue);
        assert!(said.contains("\u{1b}[3mshown\u{1b}[0m\u{1b}[2m=\u{1b}[0ma\\u001b[2J\\nINFO"));
        assert_eq!(said.matches('\n').count(), 1, "{said:?}");
    }

    #[test]
    fn json_is_json_and_moves_no_cursor() {
        let queue = queue();
        let log = tracing_subscriber::fmt().json().with_writer(move || JsonLines(queue));
        tracing::subscriber::with_default(log.finish(), say);
        let said = lines(queue);
        assert!(!said.trim_end().contains(char::is_control), "{said:?}");
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["fields"]["shown"], "a\u{1b}[2J\nINFO\u{9b}");
    }

    /// Which of these are logged, by number.
    fn logged(directives: &str) -> Vec<u32> {
        let queue = queue();
        let log = tracing_subscriber::fmt().without_time().with_target(false).with_ansi(false);
        let log = log.with_env_filter(filter(directives).unwrap()).with_writer(move || queue);
        tracing::subscriber::with_default(log.finish(), || {
            tracing::info!(target: "eipdns::server", "1");
            tracing::debug!(target: "eipdns::source::poll", "2");
            tracing::warn!(target: "aws_config::sts::assume_role", "3");
            tracing::info!(target: "aws_config::sts::assume_role", "4");
            tracing::error!(target: "aws_smithy_runtime", "5");
            tracing::warn!(target: "hyper_util::client", "6");
            tracing::warn!(target: "eipdns::cli::serve", "7");
            tracing::warn!(target: "eipdns::host::log", "8");
            tracing::error!(target: "eipdns::host::panics", "9");
        });
        let said = lines(queue);
        said.lines()
            .map(|line| line.trim_start().split_once(' ').unwrap().1.parse().unwrap())
            .collect()
    }

    #[test]
    fn other_crates_are_logged_by_name_only() {
        assert_eq!(logged("info"), [1, 5, 7, 8, 9]);
        assert_eq!(logged("debug"), [1, 2, 5, 7, 8, 9]);
        assert_eq!(logged("TRACE"), [1, 2, 5, 7, 8, 9]);
        assert_eq!(logged("info,aws_config=warn"), [1, 3, 5, 7, 8, 9]);
        assert_eq!(logged("info, aws=info"), [1, 3, 4, 5, 7, 8, 9]);
        assert_eq!(logged("warn,eipdns::source=debug,hyper=debug"), [2, 5, 6, 7, 8, 9]);
        assert_eq!(logged("off"), [5, 7, 8, 9], "why it does not start, and what is lost");
        assert_eq!(logged("off,aws_smithy_runtime=off,eipdns::cli=off"), [8, 9]);
        assert_eq!(logged(""), [5, 7, 8, 9]);
        assert!(filter("loud").is_ok(), "a target");
        assert!(filter("info,=").is_err());
    }
}
