//! The table at the end.

use std::fmt;

use crate::Result;
use crate::stats::Spread;

/// What was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    /// What was required and is not so.
    missed: Vec<String>,
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) ours: Option<Spread>,
    pub(crate) theirs: Option<Spread>,
    /// Decimals of `ours` and `theirs`.
    pub(crate) digits: usize,
    /// What the target is about: a ratio, or `ours` itself where there is nothing beside it.
    pub(crate) measured: Option<Spread>,
    pub(crate) target: Target,
}

/// What is good enough, judged by the median.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    None,
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::None => true,
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::AtMost(limit) => write!(f, "at most {limit}"),
            Self::AtLeast(limit) => write!(f, "at least {limit}"),
        }
    }
}

impl Report {
    pub(crate) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Adds what no machine is an excuse for: where its target is missed, the run has failed.
    pub(crate) fn require(&mut self, row: Row) {
        if !row.is_met() {
            self.missed.push(row.what.clone());
        }
        self.add(row);
    }

    /// Whether everything is so that was required.
    pub(crate) fn verdict(&self) -> Result<()> {
        if self.missed.is_empty() {
            return Ok(());
        }
        Err(format!("the target was missed of {}", self.missed.join(", ")).into())
    }
}

impl Row {
    fn is_met(&self) -> bool {
        let judged = |measured: Spread| self.target.is_met(measured.median);
        self.measured.is_some_and(judged)
    }

    fn cells(&self) -> [String; 6] {
        let Self { digits, target, .. } = self;
        let show = |spread: Option<Spread>| {
            spread.map_or_else(String::new, |spread| format!("{spread:.digits$}"))
        };
        let ratio = match (self.theirs, self.measured) {
            (Some(_), Some(ratio)) => format!("{ratio:.2}"),
            _ => String::new(),
        };
        let verdict = match (target, self.measured) {
            (Target::None, _) | (_, None) => "",
            _ if self.is_met() => "met",
            _ => "MISSED",
        };
        [
            self.what.clone(),
            show(self.ours),
            show(self.theirs),
            ratio,
            target.to_string(),
            verdict.to_owned(),
        ]
    }
}

/// A Markdown table, its columns aligned.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = [
            "median (least-most)",
            "pei-bridge",
            "beside it",
            "ratio",
            "target",
            "",
        ];
        let mut rows = vec![head.map(str::to_owned)];
        rows.extend(self.rows.iter().map(Row::cells));
        let widths: [usize; 6] = std::array::from_fn(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        });
        for (number, row) in rows.iter().enumerate() {
            for (cell, width) in row.iter().zip(widths) {
                write!(f, "| {cell:width$} ")?;
            }
            writeln!(f, "|")?;
            if number == 0 {
                for width in widths {
                    write!(f, "|{:-<1$}", "", width + 2)?;
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(measured: f64, target: Target) -> Row {
        Row {
            what: "x".to_owned(),
            ours: Spread::of([12.34]),
            theirs: Spread::of([10.0]),
            digits: 1,
            measured: Spread::of([measured]),
            target,
        }
    }

    #[test]
    fn the_median_is_judged() {
        let verdict = |measured, target| row(measured, target).cells()[5].clone();
        assert_eq!(verdict(1.2, Target::AtMost(1.25)), "met");
        assert_eq!(verdict(1.3, Target::AtMost(1.25)), "MISSED");
        assert_eq!(verdict(0.8, Target::AtLeast(0.8)), "met");
        assert_eq!(verdict(0.7, Target::AtLeast(0.8)), "MISSED");
        assert_eq!(verdict(9.0, Target::None), "");
    }

    #[test]
    fn only_what_is_required_fails_the_run() {
        let mut report = Report::default();
        report.add(row(1.3, Target::AtMost(1.25)));
        report.require(row(0.0, Target::AtMost(0.0)));
        assert!(report.verdict().is_ok());
        for missed in [1.0, f64::NAN] {
            let mut report = Report::default();
            report.require(row(missed, Target::AtMost(0.0)));
            assert!(report.verdict().is_err(), "{missed}");
        }
    }

    #[test]
    fn a_table_has_a_line_for_each_row() {
        let mut report = Report::default();
        report.add(row(1.2, Target::AtMost(1.25)));
        let text = report.to_string();
        assert_eq!(text.lines().count(), 3);
        assert!(text.contains("| 12.3 (12.3-12.3) "), "{text}");
        assert!(
            text.contains("| 1.20 (1.20-1.20) | at most 1.25 | met |"),
            "{text}"
        );
    }
}
