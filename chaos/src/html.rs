//! The report as a page of its own: no scripts, nothing from elsewhere.

use crate::cluster::ClusterReport;
use crate::report::Report;
use std::fmt::Write;

const HEAD: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Estafette: faults</title><style>\
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}\
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .8rem;border-bottom:1px solid #ddd;text-align:right}\
td:first-child,th:first-child{text-align:left}.holds{color:#0a6b2d}.broken{color:#b00020}\
pre{white-space:pre-wrap;background:#f4f4f4;padding:1rem}svg{width:100%;height:auto}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}td,th{border-color:#444}pre{background:#262626}\
.holds{color:#6fd08c}.broken{color:#ff7b8a}}</style>\n";
/// The drawing of gaps.
const WIDTH: u64 = 1000;
const HEIGHT: u64 = 200;

/// The page.
pub(crate) fn page(report: &Report) -> String {
    let mut page = String::from(HEAD);
    let (class, verdict) = match report.holds {
        true => ("holds", "The oracle holds: nothing lost, doubled or damaged"),
        false => ("broken", "The oracle does not hold"),
    };
    let _ = writeln!(page, "<h1>Faults under load</h1><p class=\"{class}\"><strong>{verdict}.</strong></p>");
    let told = report.told;
    let _ = writeln!(page, "<p>{}.</p>", escaped(&report.head.to_string()));
    let _ = writeln!(
        page,
        "<p>{} rounds in {} s, seed {}. Acknowledged {} mails; {} put off, {} without an answer, {} removed, {} \
         times flags stored.</p>",
        report.rounds,
        report.seconds,
        report.seed,
        told.acknowledged,
        told.put_off,
        told.unanswered,
        told.erased,
        told.stored
    );
    match &report.cluster {
        Some(cluster) => of_cluster(&mut page, cluster),
        None => of_node(&mut page, report),
    }
    if !report.findings.is_empty() {
        page.push_str("<h2>Found</h2>");
        for finding in &report.findings {
            let _ = writeln!(page, "<pre>{}</pre>", escaped(&finding.to_string()));
        }
    }
    page.push_str("</html>\n");
    page
}

fn of_node(page: &mut String, report: &Report) {
    page.push_str("<table><tr><th>fault<th>rounds<th>acknowledged<th>without an answer<th>removed\n");
    for (fault, of) in &report.faults {
        let told = of.told;
        let name = escaped(&format!("{fault:?}"));
        let cells = [of.rounds, told.acknowledged, told.unanswered, told.erased];
        row(page, &name, &cells);
    }
    page.push_str("</table>\n");
}

fn of_cluster(page: &mut String, cluster: &ClusterReport) {
    let _ = writeln!(
        page,
        "<p>{} nodes. The longest time without service of an account in a round: {} ms (p50), {} ms (p99), {} ms \
         (longest); {} probes succeeded.</p>",
        cluster.nodes, cluster.gap_p50_ms, cluster.gap_p99_ms, cluster.gap_max_ms, cluster.probes
    );
    if cluster.flipped > 0 || cluster.replaced > 0 {
        let _ = writeln!(
            page,
            "<p>{} bits flipped; {} bodies found damaged, {} repaired, {} damaged still when judged; {} nodes emptied \
             and joined anew.</p>",
            cluster.flipped,
            cluster.bodies_damaged,
            cluster.bodies_repaired,
            cluster.bodies_left,
            cluster.replaced
        );
    }
    if let Some((rounds, interrupted)) = cluster.of_snapshots() {
        let _ =
            writeln!(page, "<p>{rounds} rounds with `snapshot`, {interrupted} snapshots interrupted.</p>");
    }
    if let (Some(faults), Some(round)) = (&cluster.failed, cluster.rounds.last()) {
        let names = escaped(&crate::cluster::fault_names(faults));
        let _ = writeln!(page, "<p class=\"broken\">Found in round {} ({names}).</p>", round.round);
    }
    gaps(page, cluster);
    page.push_str(
        "<table><tr><th>fault<th>rounds<th>alone<th>gap when alone, p50 ms<th>p99 ms<th>longest of all ms\n",
    );
    for (fault, of) in &cluster.faults {
        let cells = [of.rounds, of.alone, of.alone_gap_p50_ms, of.alone_gap_p99_ms, of.gap_max_ms];
        row(page, &crate::cluster::fault_name(*fault), &cells);
    }
    page.push_str("</table>\n");
}

/// A bar for each round: its longest time without service.
fn gaps(page: &mut String, cluster: &ClusterReport) {
    let rounds = cluster.rounds.len().max(1) as u64;
    let highest = cluster.gap_max_ms.max(1);
    let _ = write!(
        page,
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"time without service by round\" \
         fill=\"#3b76c4\">"
    );
    for (at, round) in cluster.rounds.iter().enumerate() {
        let gap = round.longest_gap_ms();
        let (x, height) = (at as u64 * WIDTH / rounds, gap * HEIGHT / highest);
        let width = (WIDTH / rounds).saturating_sub(1).max(1);
        let title = escaped(&format!(
            "round {}: {}, {gap} ms",
            round.round,
            crate::cluster::fault_names(&round.faults)
        ));
        let y = HEIGHT - height;
        let _ = write!(
            page,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"><title>{title}</title></rect>"
        );
    }
    page.push_str("</svg>\n");
}

fn row(page: &mut String, name: &str, cells: &[u64]) {
    let _ = write!(page, "<tr><td>{name}");
    for cell in cells {
        let _ = write!(page, "<td>{cell}");
    }
    page.push('\n');
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Finding;

    #[test]
    fn what_was_found_is_shown_as_text() {
        let mut report = Report::default();
        report.findings.push(Finding::SlowEnd { seconds: 3 });
        report.findings.push(Finding::CheckFaults { output: "<b>&".to_owned() });
        let text = page(&report);
        assert!(text.contains("within 3 s") && text.contains("&lt;b&gt;&amp;") && !text.contains("<b>"));
    }
}
