//! What a scenario has to say, as Markdown.

use crate::picture::Panel;
use std::fmt::{self, Display};

/// The outcome of one scenario.
pub(crate) struct Report {
    pub(crate) title: &'static str,
    /// What was measured, and how.
    pub(crate) about: String,
    pub(crate) tables: Vec<Table>,
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
