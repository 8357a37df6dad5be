//! Holds what was measured against what has to be reached.
//!
//! A ratio is made in each round, of figures that were measured within seconds of each other; the median of
//! these is judged. It is always such that more is better for Estafette.

use super::{Figure, Measurement, Spread, spread};
use crate::servers::Kind;
use serde::{Deserialize, Serialize};

/// What has to be reached.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wanted {
    /// To be so many times better than the peer.
    Times(f64),
    /// To be no more than this, whatever the peer's is.
    AtMost(f64),
    /// Nothing: the figure is told.
    Told,
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Wanted::Times(times) => write!(f, "{times} times"),
            Wanted::AtMost(most) => write!(f, "at most {most}"),
            Wanted::Told => f.write_str("-"),
        }
    }
}

/// A goal: a load of ours beside one of a peer.
#[derive(Clone, Debug)]
pub(crate) struct Goal {
    /// What is measured.
    pub(crate) measure: &'static str,
    /// By this load.
    pub(crate) load: String,
    /// By this figure of it.
    pub(crate) figure: Figure,
    /// Beside this server.
    pub(crate) peer: &'static str,
    /// By this load of it.
    pub(crate) peer_load: String,
    /// What has to be reached.
    pub(crate) wanted: Wanted,
}

/// Whether it was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// It was.
    Reached,
    /// It was not.
    Missed,
    /// One of both was not measured.
    Unmeasured,
    /// There is no goal.
    Told,
}

impl Verdict {
    /// Of a figure that has to be so large.
    pub(crate) fn at_least(figure: Option<f64>, least: f64) -> Verdict {
        match figure {
            Some(figure) if figure >= least => Verdict::Reached,
            Some(_) => Verdict::Missed,
            None => Verdict::Unmeasured,
        }
    }

    /// Of a figure that may be so large.
    pub(crate) fn at_most(figure: Option<f64>, most: f64) -> Verdict {
        Verdict::at_least(figure.map(|figure| -figure), -most)
    }

    /// As a word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Verdict::Reached => "reached",
            Verdict::Missed => "MISSED",
            Verdict::Unmeasured => "not measured",
            Verdict::Told => "-",
        }
    }
}

impl Row {
    /// There is something to show: without a goal, that is a peer to stand beside.
    pub(crate) fn is_shown(&self) -> bool {
        self.ours.is_some() && (self.wanted != Wanted::Told || self.theirs.is_some())
    }
}

/// A goal and what was reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// What is measured.
    pub(crate) measure: String,
    /// By this load.
    pub(crate) load: String,
    /// By this figure of it.
    pub(crate) figure: Figure,
    /// Whose figures these are.
    pub(crate) server: String,
    /// They.
    pub(crate) ours: Option<Spread>,
    /// The server beside.
    pub(crate) peer: String,
    /// The load by which it was measured.
    pub(crate) peer_load: String,
    /// Its figures.
    pub(crate) theirs: Option<Spread>,
    /// How many times ours are better, by rounds.
    pub(crate) times: Option<Spread>,
    /// What has to be reached.
    pub(crate) wanted: Wanted,
    /// Whether it was.
    pub(crate) verdict: Verdict,
}

/// What less than this is can no more be told from nothing, in KiB or ms.
const LEAST: f64 = 1e-3;
/// The epoll driver may be worse than io_uring by this.
const TWIN_SLACK: f64 = 0.25;

/// All goals for Estafette, then the same figures of its epoll driver beside those with io_uring.
pub(crate) fn rows(goals: &[Goal], measurements: &[Measurement]) -> Vec<Row> {
    let (ours, twin) = (Kind::Estafette.name(), Kind::EstafetteEpoll.name());
    let mut rows: Vec<Row> = goals.iter().map(|goal| row(goal, ours, measurements)).collect();
    if !measurements.iter().any(|one| one.server == twin) {
        return rows;
    }
    let mut seen: Vec<(&str, Figure)> = Vec::new();
    for goal in goals.iter().filter(|goal| goal.wanted != Wanted::Told) {
        if seen.contains(&(goal.load.as_str(), goal.figure)) {
            continue;
        }
        seen.push((&goal.load, goal.figure));
        let least = if goal.figure.is_better_large() { 1.0 - TWIN_SLACK } else { 1.0 / (1.0 + TWIN_SLACK) };
        let beside = Goal {
            measure: "epoll beside io_uring",
            peer: ours,
            peer_load: goal.load.clone(),
            wanted: Wanted::Times(least),
            ..goal.clone()
        };
        rows.push(row(&beside, twin, measurements));
    }
    rows
}

fn row(goal: &Goal, server: &str, measurements: &[Measurement]) -> Row {
    let figure = |figures: &_| goal.figure.of(figures);
    let ours = spread(measurements, server, &goal.load, figure);
    let times = Spread::of(rounds(goal, server, measurements));
    let judged = match goal.wanted {
        Wanted::Times(least) => times.map(|times| times.median >= least),
        Wanted::AtMost(most) => ours.map(|ours| ours.median <= most),
        Wanted::Told => None,
    };
    let verdict = match (goal.wanted, judged) {
        (Wanted::Told, _) => Verdict::Told,
        (_, Some(true)) => Verdict::Reached,
        (_, Some(false)) => Verdict::Missed,
        (_, None) => Verdict::Unmeasured,
    };
    Row {
        measure: goal.measure.to_owned(),
        load: goal.load.clone(),
        figure: goal.figure,
        server: server.to_owned(),
        ours,
        peer: goal.peer.to_owned(),
        peer_load: goal.peer_load.clone(),
        theirs: spread(measurements, goal.peer, &goal.peer_load, figure),
        times,
        wanted: goal.wanted,
        verdict,
    }
}

/// How many times ours is better, in each round that has both.
fn rounds<'a>(
    goal: &'a Goal,
    server: &'a str,
    measurements: &'a [Measurement],
) -> impl Iterator<Item = f64> + 'a {
    measurements.iter().filter(move |one| one.server == server && one.load == goal.load).filter_map(
        move |ours| {
            let theirs = measurements.iter().find(|one| {
                one.round == ours.round && one.server == goal.peer && one.load == goal.peer_load
            })?;
            times(goal.figure, goal.figure.of(&ours.figures)?, goal.figure.of(&theirs.figures)?)
        },
    )
}

fn times(figure: Figure, ours: f64, theirs: f64) -> Option<f64> {
    let (best, other) = if figure.is_better_large() { (ours, theirs) } else { (theirs, ours) };
    (best > 0.0).then(|| best / other.max(LEAST))
}

#[cfg(test)]
mod tests {
    use super::super::Figures;
    use super::*;

    fn measured(round: usize, server: &str, per_second: f64, cpu_ms: f64) -> Measurement {
        let figures =
            Figures { per_second: Some(per_second), cpu_ms_each: Some(cpu_ms), ..Figures::default() };
        Measurement { round, server: server.to_owned(), load: "load".to_owned(), figures }
    }

    fn goal(figure: Figure, wanted: Wanted) -> Goal {
        let load = || "load".to_owned();
        Goal { measure: "x", load: load(), figure, peer: "dovecot", peer_load: load(), wanted }
    }

    #[test]
    fn ratios_are_made_within_rounds_and_always_for_us() {
        let measurements = [
            measured(0, "estafette", 100.0, 1.0),
            measured(0, "dovecot", 10.0, 5.0),
            measured(1, "estafette", 300.0, 1.0),
            measured(1, "dovecot", 100.0, 20.0),
            measured(2, "estafette", 900.0, 1.0),
        ];
        let rows = rows(
            &[goal(Figure::Rate, Wanted::Times(6.0)), goal(Figure::CpuMs, Wanted::Times(13.0))],
            &measurements,
        );
        assert_eq!(rows.len(), 2, "no rows for a twin that was not there");
        assert_eq!(rows[0].times, Some(Spread { median: 6.5, low: 3.0, high: 10.0 }));
        assert_eq!(rows[0].verdict, Verdict::Reached);
        assert_eq!(rows[1].times, Some(Spread { median: 12.5, low: 5.0, high: 20.0 }));
        assert_eq!(rows[1].verdict, Verdict::Missed);
    }

    #[test]
    fn a_limit_needs_no_peer_and_what_was_not_measured_is_not_reached() {
        let measurements = [measured(0, "estafette", 100.0, 1.0)];
        let rows = rows(
            &[
                goal(Figure::CpuMs, Wanted::AtMost(1.5)),
                goal(Figure::Rate, Wanted::Times(1.0)),
                goal(Figure::SessionKib, Wanted::AtMost(4.0)),
                goal(Figure::Rate, Wanted::Told),
            ],
            &measurements,
        );
        let verdicts: Vec<Verdict> = rows.iter().map(|row| row.verdict).collect();
        let unmeasured = Verdict::Unmeasured;
        assert_eq!(verdicts, [Verdict::Reached, unmeasured, unmeasured, Verdict::Told]);
    }

    #[test]
    fn the_twin_may_be_a_quarter_worse() {
        let at = |rate, cpu| {
            let measurements =
                [measured(0, "estafette", 100.0, 1.0), measured(0, "estafette-epoll", rate, cpu)];
            let goals = [goal(Figure::Rate, Wanted::Times(6.0)), goal(Figure::CpuMs, Wanted::Times(6.0))];
            rows(&goals, &measurements).iter().skip(2).map(|row| row.verdict).collect::<Vec<_>>()
        };
        assert_eq!(at(76.0, 1.24), [Verdict::Reached, Verdict::Reached]);
        assert_eq!(at(74.0, 1.26), [Verdict::Missed, Verdict::Missed]);
    }
}
