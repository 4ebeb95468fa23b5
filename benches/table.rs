//! What the benches share: CPU time, and one table that says what was measured, how, and against which target.

#![expect(
    clippy::allow_attributes,
    reason = "each bench uses a part of this, and an expectation would have to hold in all of them"
)]

use std::fmt;
use std::time::Duration;

/// One line of the table.
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) what: String,
    /// The number with its unit.
    pub(crate) measured: String,
    /// The target, and whether it is met; `None` where the figure is there to compare with.
    pub(crate) target: Option<(String, bool)>,
}

/// The figures of one bench.
pub(crate) struct Table {
    command: &'static str,
    bench: &'static str,
    figures: Vec<Figure>,
}

impl Table {
    /// An empty table of a bench that `command` runs among others.
    pub(crate) fn new(command: &'static str, bench: &'static str) -> Self {
        Self {
            command,
            bench,
            figures: Vec::new(),
        }
    }

    /// Adds a figure to compare with.
    pub(crate) fn figure(&mut self, what: impl Into<String>, measured: impl Into<String>) {
        self.figures.push(Figure {
            what: what.into(),
            measured: measured.into(),
            target: None,
        });
    }

    /// Adds a figure with its target.
    pub(crate) fn target(
        &mut self,
        what: impl Into<String>,
        measured: impl Into<String>,
        target: impl Into<String>,
        met: bool,
    ) {
        self.figures.push(Figure {
            what: what.into(),
            measured: measured.into(),
            target: Some((target.into(), met)),
        });
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n`{}`: {}, on {}\n",
            self.command,
            self.bench,
            machine()
        )?;
        let width = |text: &str| text.chars().count();
        let what = self
            .figures
            .iter()
            .map(|figure| width(&figure.what))
            .max()
            .unwrap_or(0);
        let measured = self
            .figures
            .iter()
            .map(|figure| width(&figure.measured))
            .max()
            .unwrap_or(0)
            .max(8);
        writeln!(
            f,
            "| {:what$} | {:measured$} | target",
            "figure", "measured"
        )?;
        writeln!(f, "|-{:-<what$}-|-{:->measured$}:|-------", "", "")?;
        for figure in &self.figures {
            write!(
                f,
                "| {:what$} | {:>measured$} | ",
                figure.what, figure.measured
            )?;
            match &figure.target {
                Some((target, true)) => writeln!(f, "{target}")?,
                Some((target, false)) => writeln!(f, "{target} MISSED")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}

/// The machine in a few words.
fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| {
        line.strip_prefix("model name")?
            .split_once(": ")
            .map(|(_, model)| model)
    });
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{} ({count} cores)", model.unwrap_or("unknown processor"))
}

/// CPU time this thread has used. Other than the wall's time, it does not depend on who else uses the machine; it is
/// counted in the scheduler's ticks, so a round should take some hundred milliseconds.
///
/// # Panics
/// Where the kernel does not count it (`CONFIG_SCHED_INFO`).
#[allow(dead_code, reason = "one of the benches measures another process")]
pub(crate) fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")
        .expect("Linux counts the time of threads");
    let nanoseconds = text.split(' ').next().and_then(|text| text.parse().ok());
    Duration::from_nanos(nanoseconds.expect("schedstat begins with nanoseconds"))
}

/// CPU time of one turn of `work`, over `turns` turns.
#[allow(dead_code, reason = "one of the benches measures another process")]
pub(crate) fn per_turn(turns: u32, mut work: impl FnMut()) -> Duration {
    let before = thread_cpu();
    for _ in 0..turns {
        work();
    }
    thread_cpu().saturating_sub(before) / turns
}

/// The same of what is awaited, on a runtime of this thread alone.
#[allow(dead_code, reason = "not every bench needs it")]
pub(crate) async fn per_awaited_turn(turns: u32, mut work: impl AsyncFnMut()) -> Duration {
    let before = thread_cpu();
    for _ in 0..turns {
        work().await;
    }
    thread_cpu().saturating_sub(before) / turns
}

/// The middle one of some measurements.
#[allow(dead_code, reason = "not every bench needs it")]
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// How many in a second, where one takes so long.
#[allow(dead_code, reason = "not every bench needs it")]
pub(crate) fn per_second(one: Duration) -> f64 {
    1.0 / one.as_secs_f64()
}

/// Microseconds with one decimal.
#[allow(dead_code, reason = "not every bench needs it")]
pub(crate) fn microseconds(time: Duration) -> String {
    format!("{:.1} µs", time.as_secs_f64() * 1e6)
}
