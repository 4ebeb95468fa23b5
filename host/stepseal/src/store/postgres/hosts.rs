//! Hosts that share a database: which there are, which of them holds a task, and what they tell each other.
//!
//! A host that joins gets a number of its own, its epoch, which no other one ever had, and a row that it renews in time (its beat). A task that
//! runs has the epoch of its host; no other host's transition of it is taken. Whoever finds a row too old takes it away and lets go of its
//! tasks, holding the head of the log: from then on nothing that the host writes is taken, however late it comes, until it joins anew under
//! another number. Clocks of hosts count for nothing here, the server's alone.
//!
//! Hosts hear of each other through `NOTIFY`. What was missed is found by looking: nothing rests on being told.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::connection::Options;
use crate::store::sql::row;
use crate::store::sql::writer::Writer;
use crate::store::{News, StoreError};

/// Connections for what needs no lock of the log's head: one listens.
const CONNECTIONS_MAX: u32 = 3;

/// The longest that a host waits before it says again that it is there, and looks whether the others are.
const BEAT_EVERY_MAX: Duration = Duration::from_secs(1);

/// Beats in a lease, at least: one that is late is not the end.
const BEATS_IN_LEASE: u32 = 4;

/// How long the server may take over something as small.
const ANSWER_WALL_MAX: Duration = Duration::from_secs(5);

/// Rest after the server could not be listened to.
const REST: Duration = Duration::from_secs(1);

/// News that wait to be looked at. Where there are more, everything is looked at.
const NEWS_MAX: usize = 256;

/// Bytes of one piece of news; the server takes 8,000.
const NEWS_BYTES_MAX: usize = 7_900;

/// Milliseconds since the Unix epoch by the server's clock.
macro_rules! now {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    };
}

/// Says that a host is there, and looks whether all others are.
pub(super) const BEAT: &str = concat!(
    "WITH beat AS (UPDATE hosts SET beat_ms = ",
    now!(),
    " WHERE epoch = $1 RETURNING 1) SELECT (SELECT count(*) FROM beat), (SELECT rules FROM log_head WHERE id = 1), \
     (SELECT count(*) FROM hosts WHERE epoch <> $1 AND beat_ms + LEAST(lease_ms, $2) < ",
    now!(),
    ")"
);
/// Those that are not any more.
const LAPSED: &str = concat!(
    "DELETE FROM hosts WHERE epoch <> $1 AND beat_ms + LEAST(lease_ms, $2) < ",
    now!(),
    " RETURNING epoch"
);
pub(in crate::store) const JOIN: &str = concat!(
    "INSERT INTO hosts (epoch, name, beat_ms, lease_ms) VALUES ($1, $2, ",
    now!(),
    ", $3)"
);
/// Takes tasks up that no other host has. It waits for nobody, so that nobody can wait for it in turn: a host that is being taken for gone
/// takes none.
pub(super) const TAKE_UP: &str = "\
    WITH me AS (SELECT epoch FROM hosts WHERE epoch = $1 FOR KEY SHARE SKIP LOCKED) UPDATE tasks SET holder = me.epoch FROM me WHERE tasks.id IN \
    (SELECT id FROM tasks WHERE id = ANY ($2::text[]) AND due_ms IS NOT NULL AND (holder IS NULL OR holder = $1) FOR UPDATE SKIP LOCKED) \
    RETURNING tasks.id";
/// Lets go of what a host held. It was being run, so it is due, whatever that host's clock said.
pub(in crate::store) const RELEASE: &str =
    "UPDATE tasks SET holder = NULL, due_ms = 0 WHERE holder = $1";
/// Hosts came or went, so whoever writes next looks whether it is still there.
pub(in crate::store) const MOVED: &str = "UPDATE log_head SET epoch = epoch + 1 WHERE id = 1";
/// Where hosts of this database tell each other.
pub(in crate::store) const TELL: &str =
    "SELECT pg_notify('stepseal_' || hashtext(current_schema()), $1)::text";
const CHANNEL: &str = "SELECT 'stepseal_' || hashtext(current_schema())";

/// It never joined, or is not to any more.
const NOBODY: i64 = 0;
/// It was taken for gone, or has left.
const GONE: i64 = -1;

/// Which host of its database this process is.
#[derive(Debug, Default)]
pub(in crate::store) struct Member(AtomicI64);

impl Member {
    /// Its number, where it has one; an error where it had one that counts no more.
    pub(super) fn epoch(&self) -> Result<Option<i64>, StoreError> {
        match self.0.load(Ordering::SeqCst) {
            NOBODY => Ok(None),
            GONE => Err(StoreError::Lost),
            epoch => Ok(Some(epoch)),
        }
    }

    pub(super) fn is(&self, epoch: i64) {
        self.0.store(epoch, Ordering::SeqCst);
    }

    pub(super) fn is_gone(&self) {
        self.is(GONE);
    }
}

/// What a host has to do with the others.
#[derive(Debug)]
pub(in crate::store) struct Hosts {
    pool: PgPool,
    member: Arc<Member>,
    patience_ms: i64,
    told: Mutex<mpsc::Receiver<News>>,
    tell: mpsc::Sender<News>,
    /// More was told than there was room for, or it may have been.
    missed: AtomicBool,
    /// Others took this host for gone: that must not be missed.
    lost: AtomicBool,
    /// What was heard before may not have been all.
    deaf: Notify,
    tasks: std::sync::Mutex<JoinSet<()>>,
}

impl Hosts {
    pub(super) fn new(options: &Options, patience: Duration) -> Self {
        // What is lost of this with the server's power is found out like any other silence.
        let connect = options.connect.clone();
        let pool = PgPoolOptions::new()
            .min_connections(0)
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ANSWER_WALL_MAX)
            .connect_lazy_with(connect.options([("synchronous_commit", "off")]));
        let (tell, told) = mpsc::channel(NEWS_MAX);
        Self {
            pool,
            member: Arc::clone(&options.member),
            patience_ms: row::duration_ms(patience),
            told: Mutex::new(told),
            tell,
            missed: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            deaf: Notify::new(),
            tasks: std::sync::Mutex::default(),
        }
    }

    /// Joins the hosts of the database under this name, in the place of one that had it, and stays one of them.
    pub(in crate::store) async fn join(
        self: &Arc<Self>,
        writer: &Arc<Writer>,
        name: &str,
        lease: Duration,
    ) -> Result<(), StoreError> {
        let (name, lease_ms) = (name.to_owned(), row::duration_ms(lease));
        let keys = writer.join(name.clone(), lease_ms, None).await?;
        let mut tasks = self.tasks.lock().expect("no panic while held");
        tasks.spawn(Arc::clone(self).listen());
        let beating = Beating {
            hosts: Arc::clone(self),
            writer: Arc::clone(writer),
            name,
            lease_ms,
            keys,
            every: (lease / BEATS_IN_LEASE).min(BEAT_EVERY_MAX),
            lapsed: Notify::new(),
        };
        tasks.spawn(beating.run());
        Ok(())
    }

    /// Leaves: whatever is still held is for the others.
    pub(in crate::store) async fn leave(&self, writer: &Writer) -> Result<(), StoreError> {
        self.tasks.lock().expect("no panic while held").abort_all();
        let Ok(Some(epoch)) = self.member.epoch() else {
            return Ok(());
        };
        let left = writer.transact(move |mut work| {
            Box::pin(async move {
                work.ask("DELETE FROM hosts WHERE epoch = $1")
                    .bind(epoch)
                    .execute()
                    .await?;
                work.ask(RELEASE).bind(epoch).execute().await?;
                work.ask(MOVED).execute().await?;
                work.tell(&News::Due).await
            })
        });
        let left = left.await;
        self.member.is_gone();
        left
    }

    /// Takes tasks up; gives those that this host now has.
    pub(in crate::store) async fn take_up(
        &self,
        ids: &[String],
    ) -> Result<Vec<String>, StoreError> {
        let Some(epoch) = self.member.epoch()? else {
            return Ok(ids.to_vec());
        };
        let claimed = sqlx::query_scalar(TAKE_UP)
            .bind(epoch)
            .bind(ids)
            .fetch_all(&self.pool);
        let claimed = timeout(ANSWER_WALL_MAX, claimed).await;
        Ok(claimed.map_err(|_| super::silent(ANSWER_WALL_MAX))??)
    }

    /// Its number, for what it holds.
    pub(in crate::store) fn epoch(&self) -> i64 {
        self.member.epoch().ok().flatten().unwrap_or(NOBODY)
    }

    /// What others said, or what is to be looked at.
    pub(in crate::store) async fn news(&self) -> News {
        loop {
            if self.lost.swap(false, Ordering::SeqCst) {
                return News::Lost;
            }
            if self.missed.swap(false, Ordering::SeqCst) {
                return News::Missed;
            }
            match self.told.lock().await.recv().await {
                Some(News::Lost) => {}
                Some(news) if !self.lost.load(Ordering::SeqCst) => return news,
                // It comes after what is more pressing.
                Some(_) => self.missed.store(true, Ordering::SeqCst),
                // This holds a sender.
                None => pending().await,
            }
        }
    }

    fn say(&self, news: News) {
        if news == News::Lost {
            // Whoever waits for news is woken by what follows; where the queue is full, nobody waits.
            self.lost.store(true, Ordering::SeqCst);
        }
        if self.tell.try_send(news).is_err() {
            self.missed.store(true, Ordering::SeqCst);
        }
    }

    async fn listen(self: Arc<Self>) {
        loop {
            let deaf = self.deaf.notified();
            let heard = tokio::select! {
                heard = self.hear() => heard,
                () = deaf => Ok(()),
            };
            if let Err(error) = heard {
                tracing::warn!(%error, "other hosts cannot be heard; what they do is looked for");
                sleep(REST).await;
            }
        }
    }

    async fn hear(&self) -> Result<(), sqlx::Error> {
        let channel: String = sqlx::query_scalar(CHANNEL).fetch_one(&self.pool).await?;
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen(&channel).await?;
        self.say(News::Missed);
        while let Some(heard) = listener.try_recv().await? {
            if let Some(news) = News::parse(heard.payload(), self.epoch()) {
                self.say(news);
            }
        }
        Ok(())
    }

    pub(in crate::store) async fn close(&self) {
        self.tasks.lock().expect("no panic while held").abort_all();
        // One that listens to a server out of reach is not waited for.
        let _ = timeout(REST, self.pool.close()).await;
    }
}

/// Says that a host is there, and looks after the others.
struct Beating {
    hosts: Arc<Hosts>,
    writer: Arc<Writer>,
    name: String,
    lease_ms: i64,
    /// The keys that signed for the log when it joined.
    keys: String,
    every: Duration,
    /// Hosts were not heard of for longer than their lease.
    lapsed: Notify,
}

impl Beating {
    /// Beats while it takes others away: that waits for the head of the log, and may wait for as long as one of them holds it.
    async fn run(self) {
        tokio::join!(self.beats(), self.reaps());
    }

    async fn beats(&self) {
        let mut rules = None;
        // A server that was out of reach may have been so for all: the others get a moment to be heard again.
        let mut in_touch = false;
        loop {
            match self.beat(&mut rules, in_touch).await {
                Ok(()) => {
                    if !in_touch {
                        self.hosts.deaf.notify_one();
                        self.hosts.say(News::Missed);
                    }
                    in_touch = true;
                }
                Err(error) => {
                    tracing::warn!(%error, "the database does not hear this host");
                    in_touch = false;
                }
            }
            sleep(self.every).await;
        }
    }

    async fn beat(&self, known: &mut Option<i64>, in_touch: bool) -> Result<(), StoreError> {
        let Ok(Some(epoch)) = self.hosts.member.epoch() else {
            return self.join_again().await;
        };
        let beat = sqlx::query_as(BEAT)
            .bind(epoch)
            .bind(self.hosts.patience_ms)
            .fetch_one(&self.hosts.pool);
        let beat = timeout(ANSWER_WALL_MAX, beat).await;
        let (is_there, rules, lapsed): (i64, i64, i64) =
            beat.map_err(|_| super::silent(ANSWER_WALL_MAX))??;
        if is_there == 0 {
            return self.join_again().await;
        }
        if known.replace(rules).is_some_and(|known| known != rules) {
            self.hosts.say(News::Rules);
        }
        if lapsed > 0 && in_touch {
            self.lapsed.notify_one();
        }
        Ok(())
    }

    async fn reaps(&self) {
        loop {
            self.lapsed.notified().await;
            if let Ok(Some(epoch)) = self.hosts.member.epoch()
                && let Err(error) = self.reap(epoch).await
            {
                tracing::warn!(%error, "hosts that are gone still hold what they ran");
            }
        }
    }

    /// Other hosts took this one for gone, and have its tasks.
    async fn join_again(&self) -> Result<(), StoreError> {
        self.hosts.member.is_gone();
        tracing::warn!(
            "this host was silent for longer than its lease; others have what it ran, and it begins anew"
        );
        self.hosts.say(News::Lost);
        let keys = Some(self.keys.clone());
        let joined = self.writer.join(self.name.clone(), self.lease_ms, keys);
        joined.await?;
        self.hosts.say(News::Missed);
        Ok(())
    }

    /// Takes away hosts that were not heard of for longer than their lease.
    async fn reap(&self, epoch: i64) -> Result<(), StoreError> {
        let patience = self.hosts.patience_ms;
        let gone = self.writer.transact(move |mut work| {
            Box::pin(async move {
                let lapsed = work.ask(LAPSED).bind(epoch).bind(patience);
                let gone: Vec<i64> = lapsed.column().await?;
                let mut tasks = 0;
                for epoch in &gone {
                    tasks += work.ask(RELEASE).bind(*epoch).execute().await?;
                }
                if !gone.is_empty() {
                    work.ask(MOVED).execute().await?;
                    work.tell(&News::Due).await?;
                }
                Ok((gone.len(), tasks))
            })
        });
        let (hosts, tasks) = gone.await?;
        if hosts > 0 {
            tracing::warn!(
                hosts,
                tasks,
                "hosts are gone; what they ran goes on elsewhere"
            );
        }
        Ok(())
    }
}

impl News {
    /// As hosts send it.
    pub(in crate::store) fn to_text(&self) -> String {
        match self {
            Self::Changed { tasks, due } => {
                let kind = if *due { 'D' } else { 'c' };
                format!("{kind}{}", tasks.join(" "))
            }
            Self::Poked(task) => format!("p{task}"),
            Self::Cancelled(task) => format!("x{task}"),
            Self::Due => "d".to_owned(),
            Self::Rules => "r".to_owned(),
            Self::Missed | Self::Lost => "m".to_owned(),
        }
    }

    /// What was sent by another host than the one of this epoch. Of what nobody understands, everything is looked at.
    fn parse(text: &str, own: i64) -> Option<Self> {
        let (sender, text) = text.split_once(':').unwrap_or(("", text));
        if sender == own.to_string() {
            return None;
        }
        let (kind, rest) = text.split_at_checked(1).unwrap_or_default();
        let tasks = || rest.split(' ').map(str::to_owned).collect();
        Some(match kind {
            "c" | "D" => Self::Changed {
                tasks: tasks(),
                due: kind == "D",
            },
            "p" => Self::Poked(rest.to_owned()),
            "x" => Self::Cancelled(rest.to_owned()),
            "d" => Self::Due,
            "r" => Self::Rules,
            _ => Self::Missed,
        })
    }

    /// What a host of this epoch tells of the tasks it changed.
    pub(super) fn signed(&self, epoch: i64) -> String {
        let text = self.to_text();
        if text.len() > NEWS_BYTES_MAX {
            return format!("{epoch}:{}", Self::Missed.to_text());
        }
        format!("{epoch}:{text}")
    }
}
