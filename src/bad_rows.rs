//! Rows of an operator's table that cannot be used: skipped, and named by their line, never by
//! what stands in them.

/// Bad rows named in the log, at most; the rest is counted.
const MOST_ROWS_NAMED: usize = 20;

/// Rows of one table that were skipped.
pub(crate) struct BadRows {
    table: &'static str,
    skipped: usize,
}

impl BadRows {
    /// None so far.
    pub(crate) fn of(table: &'static str) -> Self {
        Self { table, skipped: 0 }
    }

    /// One more.
    pub(crate) fn name(&mut self, line: u64, reason: &'static str) {
        if self.skipped < MOST_ROWS_NAMED {
            tracing::warn!(table = self.table, line, reason, "row skipped");
        }
        self.skipped += 1;
    }

    /// How many there were, once the table is read.
    pub(crate) fn report(&self, loaded: usize) {
        let Self { table, skipped } = *self;
        if skipped > 0 {
            tracing::warn!(table, loaded, skipped, "rows were skipped");
        }
    }
}
