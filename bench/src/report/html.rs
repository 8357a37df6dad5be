//! The tables of a comparison as one page: no scripts, nothing from elsewhere.

use super::text::{number, times};
use super::{Report, Row, Verdict, plot};
use std::fmt::Write;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:76em;padding:0 1em;color:#222}\
table{border-collapse:collapse;width:100%}td,th{padding:.25em .6em;border-bottom:1px solid #ddd;text-align:left;\
vertical-align:middle}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}\
.reached{color:#176b2c;font-weight:600}.missed{color:#b00020;font-weight:600}.unmeasured,.told{color:#777}\
svg text{font:12px system-ui,sans-serif;fill:#222}.wide{overflow-x:auto}\
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}td,th{border-color:#444}svg text{fill:#ddd}\
.reached{color:#6fd08c}.missed{color:#ff8a80}}";

/// The page.
pub(crate) fn page(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_page(&mut out, report);
    out
}

fn write_page(out: &mut String, report: &Report) -> std::fmt::Result {
    let head = &report.head;
    write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Estafette: comparison of {date}</title>\
         <style>{STYLE}</style></head><body><h1>Estafette beside other servers</h1>\
         <p>{date}, commit {commit}; {programs}. {machine}; server and load share them.</p>\
         <h2>Goals</h2><p>Ratios are made within each round; the median is judged. They are such that more is \
         better for Estafette. The bar is the median on a logarithmic scale, the dark line its range, the red \
         one the goal.</p><div class=\"wide\"><table><tr><th>measure<th>load<th class=\"n\">ours<th><th>beside\
         <th class=\"n\">theirs<th class=\"n\">times better<th><th class=\"n\">wanted<th>verdict</tr>",
        date = escape(&head.date),
        commit = escape(&head.commit),
        programs = escape(&head.programs.join(", ")),
        machine = escape(&head.machine),
    )?;
    for row in report.rows.iter().filter(|row| row.is_shown()) {
        write_row(out, row)?;
    }
    out.push_str(
        "</table></div><h2>Loads</h2><p>Medians over all rounds; lines from the least to the greatest.</p>",
    );
    plot::loads(out, &report.measurements)?;
    if !report.failures.is_empty() {
        out.push_str("<h2>What could not be measured</h2><ul>");
        for failure in &report.failures {
            let (server, load) = (escape(&failure.server), escape(&failure.load));
            write!(out, "<li>Round {}, {server}, {load}: {}", failure.round, escape(&failure.why))?;
        }
        out.push_str("</ul>");
    }
    out.push_str("</body></html>\n");
    Ok(())
}

fn write_row(out: &mut String, row: &Row) -> std::fmt::Result {
    let middle = |spread: Option<super::Spread>| spread.map_or("-".to_owned(), |one| number(one.median));
    let class = match row.verdict {
        Verdict::Reached => "reached",
        Verdict::Missed => "missed",
        Verdict::Unmeasured => "unmeasured",
        Verdict::Told => "told",
    };
    let beside =
        if row.load == row.peer_load { row.peer.clone() } else { format!("{}, {}", row.peer, row.peer_load) };
    write!(
        out,
        "<tr><td>{}<td>{}<td class=\"n\">{}<td>{}<td>{}<td class=\"n\">{}<td class=\"n\">{}<td>",
        escape(&row.measure),
        escape(&row.load),
        middle(row.ours),
        row.figure.unit(),
        escape(&beside),
        middle(row.theirs),
        times(row.times)
    )?;
    plot::ratio(out, row)?;
    write!(out, "<td class=\"n\">{}<td class=\"{class}\">{}</tr>", row.wanted, row.verdict.word())
}

/// Text that may stand anywhere in a page.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Failure, Figure, Figures, Head, Measurement, Spread, Wanted};
    use super::*;

    #[test]
    fn nothing_of_a_text_is_taken_for_html() {
        assert_eq!(escape("<a href=\"x\">'&'</a>"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;");
        assert_eq!(escape("lmtp 4 KiB, 20 sessions"), "lmtp 4 KiB, 20 sessions");
    }

    #[test]
    fn the_page_holds_rows_plots_and_failures_and_nothing_from_elsewhere() {
        let spread = Spread { median: 5.0, low: 4.0, high: 6.0 };
        let load = || "a <load>".to_owned();
        let figures = Figures { per_second: Some(10.0), ..Figures::default() };
        let head = Head {
            date: "2026-11-21".to_owned(),
            commit: "abc".to_owned(),
            programs: vec!["estafette".to_owned()],
            machine: "one".to_owned(),
        };
        let report = Report {
            head,
            rows: vec![Row {
                measure: "deliveries".to_owned(),
                load: load(),
                figure: Figure::Rate,
                server: "estafette".to_owned(),
                ours: Some(spread),
                peer: "dovecot".to_owned(),
                peer_load: load(),
                theirs: Some(spread),
                times: Some(spread),
                wanted: Wanted::Times(8.0),
                verdict: Verdict::Missed,
            }],
            measurements: vec![Measurement {
                round: 0,
                server: "estafette".to_owned(),
                load: load(),
                figures,
            }],
            failures: vec![Failure {
                round: 0,
                server: "x".to_owned(),
                load: load(),
                why: "<why>".to_owned(),
            }],
        };
        let page = page(&report);
        assert!(page.contains("a &lt;load&gt;") && !page.contains("<load>") && !page.contains("<why>"));
        assert!(page.matches("<svg").count() >= 2 && page.contains("MISSED"));
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("<script"));
    }
}
