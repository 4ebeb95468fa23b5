//! The story: lines a person enjoys, at most [`LINES_MAX`] of them.

use std::borrow::Cow;

use anyhow::ensure;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::super::output::Output;

/// A story longer than this is not read.
const LINES_MAX: usize = 40;

/// What was told so far.
pub(super) struct Story {
    output: Output,
    lines: Vec<String>,
}

impl Story {
    pub(super) fn new(output: Output) -> Self {
        Self {
            output,
            lines: Vec::new(),
        }
    }

    /// Tells one line: at once to a person, at the end to a program.
    pub(super) fn line(&mut self, text: &str) -> anyhow::Result<()> {
        ensure!(
            self.lines.len() < LINES_MAX,
            "the story became longer than {LINES_MAX} lines"
        );
        if !self.output.is_json() {
            self.output.text(text)?;
        }
        self.lines.push(text.to_owned());
        Ok(())
    }

    /// An empty line.
    pub(super) fn gap(&mut self) -> anyhow::Result<()> {
        self.line("")
    }

    /// Shows that something goes on.
    pub(super) fn busy(&self, text: impl Into<Cow<'static, str>>) -> Busy {
        Busy(self.output.progress(text))
    }

    /// Gives a program the story as a whole.
    pub(super) fn end(self, result: &Value) -> anyhow::Result<()> {
        if self.output.is_json() {
            self.output
                .json(&json!({ "story": self.lines, "result": result }))?;
        }
        Ok(())
    }
}

/// Something goes on until this is dropped.
pub(super) struct Busy(ProgressBar);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
