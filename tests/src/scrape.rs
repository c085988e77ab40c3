//! Reads a sidecar's metrics as Prometheus would, from the pod's own address.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

/// Where every sidecar serves its metrics.
const PORT: u16 = 15020;
const PATIENCE: Duration = Duration::from_secs(10);

/// One series and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The name of the metric.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it stands at.
    pub value: f64,
}

/// What a sidecar said at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scrape(Vec<Sample>);

impl Scrape {
    /// Asks the sidecar of the pod that has this address.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn of(pod: IpAddr) -> Result<Self, String> {
        let address = SocketAddr::new(pod, PORT);
        let ask = || {
            let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(b"GET /stats/prometheus HTTP/1.0\r\nHost: metrics\r\n\r\n")?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            Ok(answer)
        };
        let answer: Vec<u8> = ask().map_err(|e: std::io::Error| format!("{address}: {e}"))?;
        let answer = String::from_utf8_lossy(&answer);
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.contains(" 200 ") => Ok(Self::parse(body)),
            _ => Err(format!("{address} answered {answer}")),
        }
    }

    /// Reads the text format; lines that are no samples are left out.
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(sample).collect())
    }

    /// The sum of a metric over the series that have all of these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &&Sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(name, value)| sample.labels.get(*name).is_some_and(|v| v == value))
        };
        self.0.iter().filter(has).map(|sample| sample.value).sum()
    }

    /// A metric by the value of one of its labels, over the series that have these others.
    pub fn by(&self, name: &str, label: &str, labels: &[(&str, &str)]) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for sample in self.0.iter().filter(|sample| sample.name == name) {
            let has =
                |(name, value): &(&str, &str)| sample.labels.get(*name).is_some_and(|v| v == value);
            if let Some(key) = sample.labels.get(label)
                && labels.iter().all(has)
            {
                *sums.entry(key.clone()).or_default() += sample.value as u64;
            }
        }
        sums
    }
}

fn sample(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, mut rest)) = series.split_once('{') else {
        let (name, labels) = (series.to_owned(), BTreeMap::new());
        return Some(Sample {
            name,
            labels,
            value,
        });
    };
    let mut labels = BTreeMap::new();
    while let Some((label, after)) = rest.split_once("=\"") {
        let mut escaped = false;
        let end = after.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })?;
        let label = label.trim_start_matches(',').to_owned();
        labels.insert(label, after[..end].to_owned());
        rest = &after[end + 1..];
    }
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn series_are_summed_by_their_labels() {
        let scrape = Scrape::parse(
            "# HELP a A.\n# TYPE a counter\na{x=\"1\",y=\"q\\\"}, \"} 2\na{x=\"2\",y=\"\"} 3\nb 4\n",
        );
        assert_eq!(scrape.sum("a", &[]), 5.0);
        assert_eq!(scrape.sum("a", &[("x", "2")]), 3.0);
        assert_eq!(scrape.sum("b", &[]), 4.0);
        let by = scrape.by("a", "x", &[("y", "")]);
        assert_eq!(by, [("2".to_owned(), 3)].into());
        assert_eq!(scrape.sum("a", &[("y", "q\\\"}, ")]), 2.0);
    }
}
