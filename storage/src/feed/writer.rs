//! Group commit: whatever arrived while the last commit ran goes into the next one.
//!
//! One thread owns the writing of a file; of a database it is a few tasks. A commit costs an fsync however much is in it, so the more arrives at once, the less each
//! append costs, and an append that comes alone does not wait for company.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, oneshot};

#[cfg(feature = "postgres")]
use super::PostgresFeed;
use super::{Append, AppendError, Appended, RedbFeed};
use crate::error::StoreError;

/// How much may wait for the writer, and how much goes into one transaction.
///
/// ```
/// use headwater_storage::WriterLimits;
/// let limits = WriterLimits { queue_appends_max: 64, ..WriterLimits::default() };
/// assert_eq!(limits.batch_entries_max, 4096);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterLimits {
    /// The most appends that wait. When it is reached, further appends wait for their place in the queue.
    pub queue_appends_max: usize,
    /// No more appends join a transaction once it has this many entries.
    pub batch_entries_max: usize,
}

impl Default for WriterLimits {
    fn default() -> Self {
        Self { queue_appends_max: 1024, batch_entries_max: 4096 }
    }
}

struct Job {
    appends: Vec<Append>,
    answer: Answer,
}

type Answer = oneshot::Sender<Result<Vec<Appended>, AppendError>>;

pub(super) struct FeedWriter {
    /// `None` only while it is being dropped.
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    commits: Arc<AtomicU64>,
}

impl FeedWriter {
    pub(super) fn start(feed: RedbFeed, limits: WriterLimits) -> Result<Self, StoreError> {
        let (queue, jobs) = mpsc::channel(limits.queue_appends_max.max(1));
        let commits = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&commits);
        let thread = thread::Builder::new()
            .name("feed writer".to_owned())
            .spawn(move || run(&feed, jobs, limits, &counted))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), commits })
    }

    /// Has to be called within a tokio runtime. The tasks end once this is dropped and what was taken is done.
    #[cfg(feature = "postgres")]
    pub(super) fn start_tasks(feed: &PostgresFeed, limits: WriterLimits) -> Self {
        let (queue, jobs) = mpsc::channel(limits.queue_appends_max.max(1));
        let commits = Arc::new(AtomicU64::new(0));
        let jobs = Arc::new(tokio::sync::Mutex::new(jobs));
        for _ in 0..feed.options().writers.max(1) {
            tokio::spawn(run_task(feed.clone(), Arc::clone(&jobs), limits, Arc::clone(&commits)));
        }
        Self { queue: Some(queue), thread: None, commits }
    }

    pub(super) async fn append_all(&self, appends: Vec<Append>) -> Result<Vec<Appended>, AppendError> {
        if appends.is_empty() {
            return Ok(Vec::new());
        }
        let (answer, answered) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(StoreError::Stopped)?;
        queue.send(Job { appends, answer }).await.map_err(|_| StoreError::Stopped)?;
        answered.await.map_err(|_| StoreError::Stopped)?
    }

    /// How many transactions have been tried.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

impl Drop for FeedWriter {
    /// Waits for the transaction that is running, so that the file is free once the store is gone.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has nothing more to say here: its callers were answered with `Stopped`.
            let _ = thread.join();
        }
    }
}

fn run(feed: &RedbFeed, mut jobs: mpsc::Receiver<Job>, limits: WriterLimits, commits: &AtomicU64) {
    while let Some(first) = jobs.blocking_recv() {
        let batch = Batch::gather(first, &mut jobs, limits);
        commits.fetch_add(1, Ordering::Relaxed);
        let (appends, waiting) = batch.parts();
        waiting.answer(feed.append_all(appends));
    }
}

#[cfg(feature = "postgres")]
async fn run_task(
    feed: PostgresFeed,
    jobs: Arc<tokio::sync::Mutex<mpsc::Receiver<Job>>>,
    limits: WriterLimits,
    commits: Arc<AtomicU64>,
) {
    loop {
        let batch = {
            let mut jobs = jobs.lock().await;
            let Some(first) = jobs.recv().await else { return };
            Batch::gather(first, &mut jobs, limits)
        };
        commits.fetch_add(1, Ordering::Relaxed);
        let (appends, waiting) = batch.parts();
        waiting.answer(feed.append_all(appends).await);
    }
}

/// Jobs that share a transaction.
struct Batch(Vec<Job>);

/// Who waits for a transaction, and for how many receipts.
struct Waiting(Vec<(usize, Answer)>);

impl Batch {
    /// The first job and whatever waits behind it.
    fn gather(first: Job, jobs: &mut mpsc::Receiver<Job>, limits: WriterLimits) -> Self {
        let entries_of = |job: &Job| job.appends.iter().map(|append| append.entries.len()).sum::<usize>();
        let mut entries = entries_of(&first);
        let mut taken = vec![first];
        while entries < limits.batch_entries_max {
            let Ok(job) = jobs.try_recv() else { break };
            entries += entries_of(&job);
            taken.push(job);
        }
        Self(taken)
    }

    fn parts(self) -> (Vec<Append>, Waiting) {
        let mut appends = Vec::new();
        let mut answers = Vec::with_capacity(self.0.len());
        for job in self.0 {
            answers.push((job.appends.len(), job.answer));
            appends.extend(job.appends);
        }
        (appends, Waiting(answers))
    }
}

impl Waiting {
    fn answer(self, appended: Result<Vec<Appended>, AppendError>) {
        match appended {
            Ok(appended) => {
                let mut appended = appended.into_iter();
                for (count, answer) in self.0 {
                    // A caller that is gone will push again; the changes are known then.
                    let _ = answer.send(Ok(appended.by_ref().take(count).collect()));
                }
            }
            Err(error) => {
                tracing::error!(%error, jobs = self.0.len(), "a feed transaction failed");
                for (_, answer) in self.0 {
                    let _ = answer.send(Err(error.clone()));
                }
            }
        }
    }
}
