//! The two text formats of Prometheus: a page of families, each of samples.
//!
//! Plain is version 0.0.4, which every reader knows; the other is OpenMetrics
//! 1.0, for who asks for it. They differ in what the head of a counter is called
//! and in how a page ends.

use std::fmt::Write;

use crate::host::histogram::Reading;

/// How a page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus text format 0.0.4.
    Plain,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// The media type of OpenMetrics.
const OPEN: &str = "application/openmetrics-text";

impl Format {
    /// What a request wants whose header `Accept` is this: OpenMetrics if that is
    /// named, and wanted no less than plain text (RFC 9110 section 12.5.1).
    pub(crate) fn wanted(accept: &str) -> Self {
        let wanted = |kind: &str| {
            let named = accept.split(',').filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let is_it = parts.next()?.eq_ignore_ascii_case(kind);
                let q = parts.find_map(|part| part.strip_prefix("q="));
                let q = q.map_or(Some(1.0), |q| q.parse().ok()).filter(|q: &f64| *q > 0.0);
                q.filter(|_| is_it)
            });
            named.fold(0.0, f64::max)
        };
        let open = wanted(OPEN);
        if open > 0.0 && open >= wanted("text/plain") { Self::OpenMetrics } else { Self::Plain }
    }

    /// The header `Content-Type`.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A page being written.
#[derive(Debug)]
pub(super) struct Page {
    out: String,
    format: Format,
}

/// A label and its value.
pub(super) type Label<'l> = (&'static str, &'l str);

impl Page {
    pub(super) fn new(format: Format) -> Self {
        Self { out: String::new(), format }
    }

    /// A number that only grows; `name` ends in `_total`.
    pub(super) fn counter<'p>(&'p mut self, name: &'p str, help: &str) -> Family<'p> {
        self.family(name, "counter", help)
    }

    /// A number that goes up and down.
    pub(super) fn gauge<'p>(&'p mut self, name: &'p str, help: &str) -> Family<'p> {
        self.family(name, "gauge", help)
    }

    /// Durations by how long, without labels; `name` ends in `_seconds`.
    pub(super) fn histogram(&mut self, name: &'static str, help: &str, all: &Reading) {
        self.family(name, "histogram", help);
        for (bound, count) in all.up_to() {
            self.sample(name, "_bucket", &[("le", bound)], count);
        }
        self.sample(name, "_sum", &[], all.seconds());
        self.sample(name, "_count", &[], all.count());
    }

    fn family<'p>(&'p mut self, name: &'p str, kind: &str, help: &str) -> Family<'p> {
        let head = match self.format {
            Format::Plain => name,
            Format::OpenMetrics => name.strip_suffix("_total").unwrap_or(name),
        };
        self.push(format_args!("# HELP {head} {help}\n# TYPE {head} {kind}\n"));
        Family { page: self, name }
    }

    fn sample(&mut self, name: &str, suffix: &str, labels: &[Label<'_>], value: impl Into<Value>) {
        self.push(format_args!("{name}{suffix}"));
        for (nth, (label, value)) in labels.iter().enumerate() {
            let before = if nth == 0 { '{' } else { ',' };
            self.push(format_args!("{before}{label}=\"{}\"", escaped(value)));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        match value.into() {
            Value::Whole(value) => self.push(format_args!("{close} {value}\n")),
            // With a point: 1.0.
            Value::Real(value) => self.push(format_args!("{close} {value:?}\n")),
        }
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.out.write_fmt(text);
    }

    /// The whole page.
    pub(super) fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }
}

/// The samples of one name.
pub(super) struct Family<'p> {
    page: &'p mut Page,
    name: &'p str,
}

impl Family<'_> {
    /// One of several.
    pub(super) fn with(&mut self, labels: &[Label<'_>], value: impl Into<Value>) {
        self.page.sample(self.name, "", labels, value);
    }

    /// The only one.
    pub(super) fn is(self, value: impl Into<Value>) {
        self.page.sample(self.name, "", &[], value);
    }
}

/// The value of a sample.
pub(super) enum Value {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Real(value as f64)
    }
}

/// 1 or 0.
impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Real(f64::from(u8::from(value)))
    }
}

/// Backslash, quote and newline are escaped in a label's value, and in nothing
/// else.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::host::histogram::Histogram;

    #[test]
    fn both_formats_are_as_their_readers_want_them() {
        let written = |format| {
            let mut page = Page::new(format);
            let mut all = page.counter("eipdns_x_total", "What");
            all.with(&[("a", "1"), ("b", "\\ \" \n")], 7u64);
            all.with(&[("a", "2")], 8.5);
            page.gauge("eipdns_up", "Is it").is(true);
            page.end()
        };
        let samples =
            "eipdns_x_total{a=\"1\",b=\"\\\\ \\\" \\n\"} 7\neipdns_x_total{a=\"2\"} 8.5\n";
        let up = "# HELP eipdns_up Is it\n# TYPE eipdns_up gauge\neipdns_up 1.0\n";
        let plain = "# HELP eipdns_x_total What\n# TYPE eipdns_x_total counter\n";
        assert_eq!(written(Format::Plain), format!("{plain}{samples}{up}"));
        let open = "# HELP eipdns_x What\n# TYPE eipdns_x counter\n";
        assert_eq!(written(Format::OpenMetrics), format!("{open}{samples}{up}# EOF\n"));
    }

    #[test]
    fn a_histogram_has_its_buckets_its_sum_and_its_count() {
        let (all, mut page) = (Histogram::default(), Page::new(Format::Plain));
        all.record(Duration::from_millis(20));
        all.record(Duration::from_secs(9));
        page.histogram("eipdns_t_seconds", "Time", &all.read());
        let text = page.end();
        for line in [
            "# TYPE eipdns_t_seconds histogram",
            "eipdns_t_seconds_bucket{le=\"0.01\"} 0",
            "eipdns_t_seconds_bucket{le=\"0.025\"} 1",
            "eipdns_t_seconds_bucket{le=\"+Inf\"} 2",
            "eipdns_t_seconds_sum 9.02",
            "eipdns_t_seconds_count 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn who_does_not_ask_for_openmetrics_gets_plain_text() {
        use Format::{OpenMetrics, Plain};
        for (accept, format) in [
            ("", Plain),
            ("*/*", Plain),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Plain),
            ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", Plain),
            (OPEN, OpenMetrics),
            // Prometheus 2.42 and 3.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 text/plain;version=1.0.0;q=0.3",
                OpenMetrics,
            ),
            ("application/openmetrics-text;q=0.2,text/plain;q=0.9", Plain),
            ("application/openmetrics-text;q=0", Plain),
            ("application/openmetrics-text;q=much", Plain),
        ] {
            assert_eq!(Format::wanted(accept), format, "{accept}");
        }
    }
}
