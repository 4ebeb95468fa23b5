//! Where text goes: data to stdout, everything for people to stderr, and nothing that steers a terminal to either.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::client::ClientError;

/// What stdout is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// For programs: the objects of the REST API, or of the command's own report.
    Json,
}

/// How often a spinner moves.
const SPINNER_TICK: Duration = Duration::from_millis(100);

/// stdout and stderr.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    format: Format,
}

#[expect(
    clippy::unused_self,
    reason = "all that is written goes through the output a command was given"
)]
impl Output {
    pub(super) fn new(format: Format) -> Self {
        Self { format }
    }

    pub(super) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Prints the result: `value` for programs, `text` for people.
    pub(super) fn result(self, value: &Value, text: impl FnOnce() -> String) -> io::Result<()> {
        match self.format {
            Format::Json => self.json(value),
            Format::Text => self.text(&text()),
        }
    }

    /// Prints a JSON document on stdout.
    pub(super) fn json(self, value: &Value) -> io::Result<()> {
        let mut out = io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, value)?;
        out.write_all(b"\n")
    }

    /// Prints one JSON document on one line of stdout.
    pub(super) fn json_line(self, value: &Value) -> io::Result<()> {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, value)?;
        out.write_all(b"\n")
    }

    /// Prints text on stdout.
    pub(super) fn text(self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(shown(text).as_bytes())?;
        if !text.ends_with('\n') {
            out.write_all(b"\n")?;
        }
        out.flush()
    }

    /// Prints bytes on stdout as they are.
    pub(super) fn bytes(self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }

    /// Tells a person something that is no result. A closed stderr is nobody's loss.
    pub(super) fn note(self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{}", shown(text));
    }

    /// Tells what went wrong: as a problem document for programs, as sentences for people; both on stderr.
    pub(super) fn error(self, error: &anyhow::Error) {
        if self.is_json()
            && let Some(ClientError::Problem(problem)) = error.downcast_ref::<ClientError>()
            && let Ok(text) = serde_json::to_string_pretty(&problem.0)
        {
            self.note(&text);
            return;
        }
        self.note(&format!("stepseal: {}", told(error)));
    }

    /// Shows how much of `whole` is done; silent where nobody watches.
    pub(super) fn progress_of(self, text: impl Into<Cow<'static, str>>, whole: u64) -> ProgressBar {
        if !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{msg} {wide_bar} {percent}% ({eta} left)")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::new(whole).with_style(style).with_message(text)
    }

    /// Shows that something goes on, for what may take over a second; silent where nobody watches.
    pub(super) fn progress(self, text: impl Into<Cow<'static, str>>) -> ProgressBar {
        if !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = ProgressBar::new_spinner()
            .with_style(style)
            .with_message(text);
        bar.enable_steady_tick(SPINNER_TICK);
        bar
    }
}

/// A table for people. Cells may come from strangers.
pub(super) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.map(str::to_uppercase));
    for row in rows {
        table.add_row(row.map(|cell| one_line(&cell).into_owned()));
    }
    table.trim_fmt()
}

/// Text as it may be shown on a terminal: control characters, which could move the cursor or recolour what another line
/// says, are written out, as are those that reverse the direction of writing.
pub(super) fn shown(text: &str) -> Cow<'_, str> {
    escape(text, |c| c != '\n' && c != '\t' && steers(c))
}

/// A stranger's text within a line of ours: it cannot begin a line of its own.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    escape(text, steers)
}

fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escape(text: &str, bad: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&bad) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if bad(c) {
            let _ = write!(safe, "{}", c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// `1234567` as `1,234,567`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes for people: `812 B`, `1.4 KiB`, `32.0 MiB`.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut tenths = u128::from(count) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10 * 1024 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// A digest short enough for a table: `sha256:0123456789ab…`.
pub(super) fn short(digest: &str) -> String {
    const SHOWN: usize = "sha256:".len() + 12;
    match digest.get(..SHOWN) {
        Some(start) if digest.len() > SHOWN => format!("{start}…"),
        _ => digest.to_owned(),
    }
}

/// An error with its causes, each said once: some repeat what caused them, some leave it to the reader to ask.
pub(super) fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_was_told_is_not_told_again() {
        let cause = || anyhow::anyhow!("no such key");
        let repeating = cause().context("the file cannot be read: no such key");
        assert_eq!(told(&repeating), "the file cannot be read: no such key");
        let silent = cause().context("the file cannot be read");
        assert_eq!(told(&silent), "the file cannot be read: no such key");
    }

    #[test]
    fn a_strangers_text_cannot_steer_the_terminal_or_begin_a_line() {
        assert_eq!(
            one_line("ok\n\u{1b}[32msignatures pass"),
            "ok\\n\\u{1b}[32msignatures pass"
        );
        assert_eq!(shown("two\nlines \u{202e}"), "two\nlines \\u{202e}");
        assert_eq!(shown("Grüße 🙂"), "Grüße 🙂");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(thousands(7), "7");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(32 << 20), "32.0 MiB");
    }

    #[test]
    fn a_table_has_one_line_a_row() {
        let text = table(["a", "b"], [["1".to_owned(), "x\ny".to_owned()]]);
        assert_eq!(text.lines().count(), 2, "{text}");
    }
}
