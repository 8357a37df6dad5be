//! What a node tells of itself at `/metrics`.

use crate::error::BenchError;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest that the answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(20);
/// The longest answer.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// The text of a node's metrics, from its listener `http`.
pub(super) async fn text(address: &str) -> Result<String, BenchError> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    tokio::time::timeout(ANSWER_WAIT, ask).await.map_err(|_| BenchError::Slow(ANSWER_WAIT.as_secs()))?
}

/// The sum of a metric over all its labels, of those that have this text among them.
pub(super) fn sum(text: &str, name: &str, label: &str) -> f64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let whole = rest.starts_with([' ', '{']) && rest.contains(label);
        rest.rsplit_once(' ').filter(|_| whole)?.1.parse::<f64>().ok()
    };
    // A sum of nothing would be -0.
    text.lines().filter_map(value).fold(0.0, |sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_by_name_and_label() {
        let text = "# TYPE calls_total counter\ncalls_total{peer=\"1\",lane=\"urgent\"} 3\n\
                    calls_total{peer=\"2\",lane=\"bulk\"} 4\ncalls_total_other 9\nplain 2.5\n";
        assert_eq!(sum(text, "calls_total", ""), 7.0);
        assert_eq!(sum(text, "calls_total", "lane=\"bulk\""), 4.0);
        assert_eq!((sum(text, "plain", ""), sum(text, "none", "")), (2.5, 0.0));
    }
}
