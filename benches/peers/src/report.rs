//! What a scenario has to say, as Markdown.

use crate::{
    picture::Panel,
    spread::{Spread, digits},
};
use std::fmt::{self, Display};

/// The outcome of one scenario.
pub(crate) struct Report {
    pub(crate) title: &'static str,
    /// What was measured, and how.
    pub(crate) about: String,
    pub(crate) tables: Vec<Table>,
    pub(crate) targets: Vec<Target>,
    /// What of it is in the picture.
    pub(crate) panel: Option<Panel>,
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {}\n\n{}\n", self.title, self.about)?;
        self.tables.iter().try_for_each(|table| writeln!(f, "{table}"))
    }
}

pub(crate) struct Table {
    caption: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(caption: impl Into<String>, head: &[&str]) -> Self {
        let head = head.iter().map(ToString::to_string).collect();
        Self { caption: caption.into(), head, rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<_> = cells.into_iter().collect();
        assert_eq!(cells.len(), self.head.len(), "a row has as many cells as the table's head");
        self.rows.push(cells);
    }

    #[cfg(test)]
    pub(crate) fn rows(&self) -> &[Vec<String>] {
        &self.rows
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
        if !self.caption.is_empty() {
            writeln!(f, "**{}**\n", self.caption)?;
        }
        writeln!(f, "{}\n|{}", line(&self.head), "---|".repeat(self.head.len()))?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{}", line(row)))
    }
}

/// What is to be reached.
pub(crate) struct Target {
    what: String,
    limit: f64,
    measured: f64,
    shown: String,
}

impl Target {
    pub(crate) fn ratio(what: impl Into<String>, limit: f64, measured: Spread) -> Self {
        Self { what: what.into(), limit, measured: measured.median, shown: measured.to_string() }
    }

    pub(crate) fn exact(what: impl Into<String>, limit: f64, measured: f64) -> Self {
        Self { what: what.into(), limit, measured, shown: digits(measured) }
    }

    fn verdict(&self) -> String {
        // What the table shows is what counts: counts are sums of a few hundred thousand, and round off.
        let Self { limit, measured, .. } = self;
        if measured <= limit || digits(*measured) == digits(*limit) {
            return "met".to_string();
        }
        format!("**missed**, by {:.0} %", (measured / limit - 1.0) * 100.0)
    }
}

/// All targets of a run.
pub(crate) fn targets<'a>(targets: impl IntoIterator<Item = &'a Target>) -> Table {
    let mut table = Table::new("", &["Target", "At most", "Measured", ""]);
    for target in targets {
        table.row([target.what.clone(), digits(target.limit), target.shown.clone(), target.verdict()]);
    }
    table
}
