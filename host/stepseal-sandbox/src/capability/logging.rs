//! `wasi:logging`, and what the guest prints: one bounded log for each call.

use crate::bindings::capabilities::logging;
use crate::call::{LogLevel, LogLine};
use crate::guest::Guest;
use crate::limits::{
    LOG_BYTES_MAX, LOG_CONTEXT_BYTES_MAX, LOG_LINES_MAX, LOG_MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX,
};
use crate::text::cut;

impl logging::Host for Guest {
    fn log(
        &mut self,
        level: logging::Level,
        context: String,
        message: String,
    ) -> wasmtime::Result<()> {
        self.charge(context.len() + message.len());
        let level = match level {
            logging::Level::Trace => LogLevel::Trace,
            logging::Level::Debug => LogLevel::Debug,
            logging::Level::Info => LogLevel::Info,
            logging::Level::Warn => LogLevel::Warn,
            logging::Level::Error => LogLevel::Error,
            logging::Level::Critical => LogLevel::Critical,
        };
        self.shared.log().push(level, &context, &message);
        Ok(())
    }
}

/// Where a guest prints to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Printed {
    Stdout,
    Stderr,
}

/// The log of one call.
#[derive(Debug, Default)]
pub(crate) struct Log {
    lines: Vec<LogLine>,
    bytes: usize,
    dropped: u64,
    /// The last line that did not fit: what a guest says before it breaks down must not be lost in its flood.
    last_dropped: Option<String>,
    printed_bytes: u64,
    /// Unfinished lines of stdout and stderr.
    unfinished: [Vec<u8>; 2],
}

impl Log {
    /// Adds a line, if there is room. Once a line was dropped, all later ones are: a log with holes would mislead.
    pub(crate) fn push(&mut self, level: LogLevel, context: &str, message: &str) {
        let context = cut(context, LOG_CONTEXT_BYTES_MAX);
        let message = cut(message, LOG_MESSAGE_BYTES_MAX);
        let bytes = self.bytes + context.len() + message.len();
        if self.dropped > 0 || self.lines.len() >= LOG_LINES_MAX || bytes > LOG_BYTES_MAX {
            self.dropped += 1;
            if !message.trim().is_empty() {
                let last = self.last_dropped.get_or_insert_default();
                last.clear();
                last.push_str(cut(message, MESSAGE_BYTES_MAX));
            }
            return;
        }
        self.bytes = bytes;
        self.lines.push(LogLine {
            level,
            context: context.to_owned(),
            message: message.to_owned(),
        });
    }

    /// Adds printed bytes, cutting them into lines.
    pub(crate) fn print(&mut self, to: Printed, bytes: &[u8]) {
        self.printed_bytes += bytes.len() as u64;
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.hold(to, &rest[..end]);
            self.end_line(to);
            rest = &rest[end + 1..];
        }
        self.hold(to, rest);
    }

    /// Keeps the beginning of a line, up to what a line may have.
    fn hold(&mut self, to: Printed, bytes: &[u8]) {
        let unfinished = &mut self.unfinished[to as usize];
        let room = LOG_MESSAGE_BYTES_MAX - unfinished.len();
        unfinished.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self, to: Printed) {
        let line = std::mem::take(&mut self.unfinished[to as usize]);
        let (level, context) = match to {
            Printed::Stdout => (LogLevel::Info, "stdout"),
            Printed::Stderr => (LogLevel::Warn, "stderr"),
        };
        self.push(level, context, &String::from_utf8_lossy(&line));
    }

    /// Bytes printed until now, whether kept or not.
    pub(crate) fn printed_bytes(&self) -> u64 {
        self.printed_bytes
    }

    /// The last words of the guest: what a panic printed.
    pub(crate) fn last_line(&self) -> Option<&str> {
        let kept = self.lines.iter().rev().map(|line| line.message.as_str());
        let mut said = self.last_dropped.as_deref().into_iter().chain(kept);
        said.find_map(|message| Some(message.trim()).filter(|message| !message.is_empty()))
    }

    /// Ends unfinished lines. Called when the guest has ended.
    pub(crate) fn finish(&mut self) {
        for to in [Printed::Stdout, Printed::Stderr] {
            if !self.unfinished[to as usize].is_empty() {
                self.end_line(to);
            }
        }
    }

    /// All lines, and how many were dropped.
    pub(crate) fn take(&mut self) -> (Vec<LogLine>, u64) {
        (std::mem::take(&mut self.lines), self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_bytes_become_lines() {
        let mut log = Log::default();
        log.print(Printed::Stderr, b"thread pan");
        log.print(Printed::Stdout, b"hello\nworld");
        log.print(Printed::Stderr, b"icked\n\xff");
        log.finish();
        let (lines, dropped) = log.take();
        let lines: Vec<_> = lines
            .iter()
            .map(|line| (line.context.as_str(), line.message.as_str()))
            .collect();
        assert_eq!(
            lines,
            [
                ("stdout", "hello"),
                ("stderr", "thread panicked"),
                ("stdout", "world"),
                ("stderr", "\u{fffd}")
            ]
        );
        assert_eq!(dropped, 0);
    }

    #[test]
    fn a_flood_is_counted_and_dropped() {
        let mut log = Log::default();
        for _ in 0..LOG_LINES_MAX + 7 {
            log.push(LogLevel::Info, "", "x");
        }
        log.push(LogLevel::Critical, "panic", "out of patience");
        log.push(LogLevel::Info, "", " ");
        assert_eq!(log.last_line(), Some("out of patience"));
        assert_eq!(log.take().1, 9);

        let mut log = Log::default();
        for _ in 0..32 {
            log.push(LogLevel::Info, "", &"x".repeat(1 << 20));
        }
        let (lines, dropped) = log.take();
        assert!(
            lines
                .iter()
                .all(|line| line.message.len() == LOG_MESSAGE_BYTES_MAX)
        );
        assert_eq!((lines.len(), dropped), (16, 16));
    }

    #[test]
    fn an_endless_line_is_cut() {
        let mut log = Log::default();
        for _ in 0..100 {
            log.print(Printed::Stdout, &[b'x'; 1 << 10]);
        }
        log.finish();
        assert_eq!(log.take().0[0].message.len(), LOG_MESSAGE_BYTES_MAX);
    }
}
