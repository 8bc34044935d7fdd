//! Scrapes of a running server, as Prometheus would have them over time, and
//! what promtool says of our rules on them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{http_get, root};
use crate::peers;

/// What Prometheus adds to each sample.
const TARGET: &str = "job=\"eipdns\",instance=\"dns-1:8053\"";

/// Between two scrapes.
const INTERVAL: &str = "15s";

/// How long a condition lasts, in scrapes: 20 minutes.
const LASTS: u32 = 80;

/// The rules that are shipped.
pub(crate) fn rules() -> PathBuf {
    root().join("packaging/prometheus/alerts.yml")
}

/// The samples of one scrape, by name and labels.
#[derive(Debug, Clone)]
pub(crate) struct Scrape(BTreeMap<String, Value>);

impl Scrape {
    /// Of the server whose HTTP side is there.
    pub(crate) fn of(http: &str) -> Self {
        let answer = http_get(http, "/metrics", "");
        let (head, text) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.0 200"), "{head}");
        let mut all = BTreeMap::from([(format!("up{{{TARGET}}}"), json!(1))]);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let series = match series.split_once('{') {
                Some((name, labels)) => format!("{name}{{{TARGET},{labels}"),
                None => format!("{series}{{{TARGET}}}"),
            };
            // As it was written: a number in JSON may become another one.
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(all.insert(series, json!(value)).is_none(), "twice: {line}");
        }
        Self(all)
    }

    /// Of a server that answers nothing: so Prometheus notes it.
    pub(crate) fn failed() -> Self {
        Self(BTreeMap::from([(format!("up{{{TARGET}}}"), json!(0))]))
    }

    /// The value of a sample; `labels` as they are printed.
    pub(crate) fn value(&self, name: &str, labels: &str) -> f64 {
        let comma = if labels.is_empty() { "" } else { "," };
        let series = format!("{name}{{{TARGET}{comma}{labels}}}");
        let value = self.0.get(&series).unwrap_or_else(|| panic!("{series} in {:#?}", self.0));
        value.as_str().unwrap().parse().unwrap()
    }

    /// The same scrape with one number larger by one.
    pub(crate) fn with_one_more(&self, name: &str) -> Self {
        let series = format!("{name}{{{TARGET}}}");
        let (mut all, value) = (self.0.clone(), self.value(name, "") + 1.0);
        all.insert(series, json!(value.to_string()));
        Self(all)
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).unwrap()
}

/// A server that was as in `before`, and is as in `after` for so long as any
/// rule waits: what only grows has grown evenly.
pub(crate) fn while_it_lasts(before: &Scrape, after: &Scrape) -> Vec<Value> {
    let one = |(series, after): (&String, &Value)| {
        let name = series.split('{').next().unwrap();
        let grows = ["_total", "_bucket", "_count", "_sum"].iter().any(|end| name.ends_with(end));
        let after = number(after);
        // A number that was not there before stands there from the first scrape on.
        let before = before.0.get(series).map(number).filter(|_| grows).unwrap_or(after);
        let step = (after - before) / f64::from(LASTS);
        json!({ "series": series, "values": format!("{before}+{step}x{LASTS}") })
    };
    after.0.iter().map(one).collect()
}

/// Scrapes of servers one after the other, each for four minutes.
pub(crate) fn one_after_the_other(all: &[Scrape]) -> Vec<Value> {
    let names: BTreeSet<&String> = all.iter().flat_map(|scrape| scrape.0.keys()).collect();
    let values = |series: &String| {
        let part = |scrape: &Scrape| match scrape.0.get(series) {
            Some(value) => format!("{}+0x15", number(value)),
            None => "_x16".to_owned(),
        };
        all.iter().map(part).collect::<Vec<_>>().join(" ")
    };
    names.iter().map(|s| json!({ "series": s, "values": values(s) })).collect()
}

/// Panics unless these alerts, and no others, fire in the end.
pub(crate) fn fires(promtool: &Path, series: &[Value], expected: &[&str]) {
    let samples: Vec<_> = expected
        .iter()
        .map(|name| json!({ "labels": format!("{{alertname=\"{name}\"}}"), "value": 1 }))
        .collect();
    let firing = "group by (alertname) (ALERTS{alertstate=\"firing\"})";
    let minutes = u64::from(LASTS) / 4;
    let test = json!({
        "rule_files": [rules()],
        "evaluation_interval": INTERVAL,
        "tests": [{
            "interval": INTERVAL,
            "input_series": series,
            "promql_expr_test": [
                { "expr": firing, "eval_time": format!("{minutes}m"), "exp_samples": samples }
            ],
        }],
    });
    // JSON is YAML.
    let mut file = tempfile::Builder::new().suffix(".yml").tempfile().unwrap();
    file.write_all(test.to_string().as_bytes()).unwrap();
    let out = Command::new(promtool).args(["test", "rules"]).arg(file.path()).output().unwrap();
    let told = [out.stdout, out.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(out.status.success(), "expected {expected:?}\n{}", told.concat());
}

/// What promtool has to say, and its exit code.
pub(crate) fn lint(promtool: &Path, text: &str) -> (String, Option<i32>) {
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    let told = [out.stdout, out.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    (told.concat(), out.status.code())
}

/// The program; none, loudly, where it is missing.
pub(crate) fn promtool() -> Option<PathBuf> {
    peers::need("promtool")
}
