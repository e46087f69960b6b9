use std::sync::Arc;
use std::time::Duration;

use headwater_storage::SpaceId;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::driver::{Command, Driver, Ended, Waiting, positions};
use super::socket::RelayUrl;
use super::{ConnectError, ConnectOptions, Phase, Status, SyncError, SyncOptions, SyncReport};
use crate::model::Timestamp;
use crate::replica::Replica;
use crate::sync::client::{ClientConfig, Mode};
use crate::wire::Limits;

/// Calls of `sync_now` that may wait at the same time.
const COMMANDS_MAX: usize = 64;

/// A connection that lasted this long after the network changed was not ended by that change.
const NETWORK_CHANGE_TIME: Duration = Duration::from_secs(10);

/// Keeps a replica in sync with a relay until it is dropped. Sync errors never reach the app's reads and writes: they show in the
/// status, and the connection goes on trying.
///
/// ```no_run
/// # async fn example(replica: headwater::Replica) -> Result<(), Box<dyn std::error::Error>> {
/// use headwater::{ConnectOptions, SpaceId};
/// let options = ConnectOptions::new([SpaceId::from_name("home")]);
/// let mut connection = replica.connect("ws://127.0.0.1:8787", options)?;
/// let report = connection.sync_now().await?;
/// println!("{} up, {} down", report.pushed, report.pulled);
/// let status = connection.status_changed().await;
/// println!("{:?}", status.phase);
/// connection.disconnect().await;
/// # Ok(())
/// # }
/// ```
///
/// A connection that nobody holds is over before it began, so the compiler warns of one that is dropped at once:
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// # use headwater::{ConnectError, ConnectOptions, Replica};
/// # fn example(replica: Replica, options: ConnectOptions) -> Result<(), ConnectError> {
/// replica.connect("ws://127.0.0.1:8787", options)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a connection syncs only for as long as it is held: keep it, in a variable whose name is not just `_`"]
pub struct Connection {
    replica: Replica,
    spaces: Vec<SpaceId>,
    commands: mpsc::Sender<Command>,
    network: Arc<Notify>,
    status: watch::Receiver<Status>,
    task: JoinHandle<()>,
}

impl Replica {
    /// Keeps spaces in sync with the relay at `url` (`ws://host:port`), reconnecting with backoff, until the connection is dropped.
    ///
    /// # Errors
    /// When the URL is not one of a relay, an option cannot work, or there is no tokio runtime. A relay that cannot be reached is no
    /// error: the status says so.
    pub fn connect(&self, url: &str, options: ConnectOptions) -> Result<Connection, ConnectError> {
        let url = RelayUrl::parse(url)?;
        let limits = options.checked_limits()?;
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| ConnectError::NoRuntime)?;
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let (status_sender, status) =
            watch::channel(Status { phase: Phase::Connecting, ..Status::default() });
        let spaces = options.spaces.clone();
        let network = Arc::new(Notify::new());
        let span = tracing::debug_span!("connection", relay = %url);
        let driver = Driver {
            replica: self.clone(),
            url,
            transport: Arc::clone(&options.transport),
            status: status_sender,
            network: Arc::clone(&network),
            network_changed: None,
            waiting: Waiting::default(),
            bytes_sent: 0,
            bytes_received: 0,
        };
        let task = runtime.spawn(stay_connected(driver, options, limits, inbox).instrument(span));
        Ok(Connection { replica: self.clone(), spaces, commands, network, status, task })
    }

    /// Syncs once: pulls, pushes, and reports what was done.
    ///
    /// # Errors
    /// When the round was not completed; what was synced by then stays synced.
    ///
    /// ```no_run
    /// # async fn example(replica: headwater::Replica) -> Result<(), headwater::SyncError> {
    /// use headwater::{SpaceId, SyncOptions};
    /// let options = SyncOptions::new([SpaceId::from_name("home")]);
    /// let report = replica.sync("ws://127.0.0.1:8787", options).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn sync(&self, url: &str, options: SyncOptions) -> Result<SyncReport, SyncError> {
        let url = RelayUrl::parse(url)?;
        let limits = options.checked_limits()?;
        let mut config = ClientConfig::new(self.device_id(), positions(self, &options.spaces)?);
        config.mode = Mode::Once;
        config.direction = options.direction;
        config.push_changes_max = options.push_changes_max;
        config.limits = limits;
        let (status, _) = watch::channel(Status::default());
        let (replica, waiting) = (self.clone(), Waiting::default());
        let span = tracing::debug_span!("sync", relay = %url);
        let mut driver = Driver {
            replica,
            url,
            transport: options.transport,
            status,
            network: Arc::default(),
            network_changed: None,
            waiting,
            bytes_sent: 0,
            bytes_received: 0,
        };
        let (answer, mut answered) = oneshot::channel();
        driver.waiting.add(answer);
        // Held, because a driver without a handle would stop at once.
        let (_commands, mut inbox) = mpsc::channel(1);
        let run = driver.run(config, options.connect_timeout, &mut inbox).instrument(span);
        let ended = match tokio::time::timeout(options.timeout, run).await {
            Ok(ended) => ended,
            Err(_) => return Err(SyncError::TimedOut),
        };
        match (answered.try_recv(), ended) {
            (Ok(Ok(mut report)), _) => {
                (report.bytes_sent, report.bytes_received) = (driver.bytes_sent, driver.bytes_received);
                Ok(report)
            }
            (_, Err(error)) | (Ok(Err(error)), _) => Err(error),
            (Err(_), Ok(Ended::ComeBack(_))) => {
                Err(SyncError::ConnectionLost("the relay is going away".to_owned()))
            }
            (Err(_), Ok(_)) => Err(SyncError::ConnectionLost("the round did not end".to_owned())),
        }
    }
}

impl Connection {
    /// How it is doing now.
    #[must_use]
    pub fn status(&self) -> Status {
        let status = self.status.borrow().clone();
        self.with_pending(status)
    }

    /// Waits until the status changes, and says how it is then.
    pub async fn status_changed(&mut self) -> Status {
        let is_over = self.status.changed().await.is_err();
        let status = self.status.borrow_and_update().clone();
        if is_over {
            // The last status stays; a caller that loops must not spin.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.with_pending(status)
    }

    /// Makes sure that everything which was on either side before the call is on both, and reports what was done. Tries to
    /// connect at once if it is offline.
    ///
    /// A report covers all that went, in both directions, since the connection began and that no earlier report told: what the
    /// connection did by itself before the call, what it did during the call, and what it did before and after any reconnect. So the
    /// reports of one connection add up to what it did, and nothing is told twice. Callers whose calls end with the same round share
    /// its report, word for word. A call that fails for want of a connection, or that is dropped before it ends, tells nothing: what
    /// was done is in the next report. A round that ended although something in it failed has its report in
    /// [`SyncError::Incomplete`].
    ///
    /// # Errors
    /// When the round was not completed. The connection goes on trying.
    pub async fn sync_now(&self) -> Result<SyncReport, SyncError> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::SyncNow(answer)).await.map_err(|_| SyncError::Disconnected)?;
        answered.await.map_err(|_| SyncError::Disconnected)?
    }

    /// Tells the connection that the network may be another one now: call it from the hook by which the operating system says so, or
    /// when the device wakes up. Returns at once, and may be called as often as that hook fires.
    ///
    /// A connection that seems to be up is checked: without a sign of life within three seconds it counts as lost. Without a
    /// connection, the next attempt comes now, and the waiting time between attempts begins anew.
    ///
    /// ```no_run
    /// # fn example(connection: headwater::Connection) {
    /// // In the operating system's callback:
    /// connection.network_changed();
    /// # }
    /// ```
    pub fn network_changed(&self) {
        self.network.notify_one();
    }

    /// Ends the connection. What was not pushed waits in the outbox.
    pub async fn disconnect(self) {
        let Connection { commands, task, .. } = self;
        drop(commands);
        // A driver that panicked has ended the connection too.
        let _ended = task.await.is_ok();
    }

    fn with_pending(&self, mut status: Status) -> Status {
        status.pending = self.spaces.iter().map(|space| self.replica.store().outbox_len(*space)).sum();
        status
    }
}

/// Connects again and again until the handle is gone.
async fn stay_connected(
    mut driver: Driver,
    options: ConnectOptions,
    limits: Limits,
    mut commands: mpsc::Receiver<Command>,
) {
    let mut backoff = options.backoff;
    let network = Arc::clone(&driver.network);
    loop {
        driver.set_status(|status| status.next_attempt = None);
        let was_even = driver.status.borrow().last_synced;
        let ended = match positions(&driver.replica, &options.spaces) {
            Ok(positions) => {
                let mut config = ClientConfig::new(driver.replica.device_id(), positions);
                config.direction = options.direction;
                config.limits = limits;
                config.counted.clone_from(&driver.waiting.counted);
                driver.run(config, options.connect_timeout, &mut commands).await
            }
            Err(error) => Err(error),
        };
        if driver.status.borrow().last_synced != was_even {
            backoff.reset();
        }
        let network_changed = driver.network_changed.take();
        let wait_ms = match ended {
            Ok(Ended::Dropped) => break,
            Ok(Ended::NetworkChanged) => {
                tracing::debug!("the network changed: connecting anew");
                backoff.reset();
                continue;
            }
            Ok(Ended::ComeBack(after_ms)) => {
                driver.waiting.fail(&SyncError::ConnectionLost("the relay is going away".to_owned()));
                // Jitter on top, or every client of a relay that restarts comes back in the same moment.
                let wait_ms = after_ms.saturating_add(rand::random::<u64>() % after_ms.saturating_add(1));
                tracing::info!(wait_ms, "the relay asks to come back later");
                offline(&driver, Phase::Offline, None, wait_ms);
                wait_ms
            }
            Ok(Ended::Done) => 0,
            Err(error) => {
                driver.waiting.fail(&error);
                let phase = if error.is_retryable() { Phase::Offline } else { Phase::Error };
                let has_changed = network_changed.is_some_and(|at| at.elapsed() < NETWORK_CHANGE_TIME);
                if has_changed {
                    backoff.reset();
                }
                let wait_ms = if has_changed { 0 } else { backoff.next_ms(rand::random()) };
                match phase {
                    Phase::Error => tracing::warn!(%error, wait_ms, "not connected"),
                    _ => tracing::debug!(%error, wait_ms, "offline"),
                }
                offline(&driver, phase, Some(error.to_string()), wait_ms);
                wait_ms
            }
        };
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
            () = network.notified() => {
                tracing::debug!("the network changed: connecting at once");
                backoff.reset();
            }
            command = commands.recv() => match command {
                // Somebody waits: no need to be patient.
                Some(Command::SyncNow(answer)) => driver.waiting.add(answer),
                None => break,
            },
        }
    }
    tracing::debug!("the connection is over");
    driver.waiting.fail(&SyncError::Disconnected);
    driver.set_status(|status| {
        (status.phase, status.progress, status.next_attempt) = (Phase::Offline, None, None);
    });
}

fn offline(driver: &Driver, phase: Phase, error: Option<String>, wait_ms: u64) {
    let next_attempt = driver.replica.now_ms().saturating_add(wait_ms);
    driver.set_status(|status| {
        (status.phase, status.progress) = (phase, None);
        status.next_attempt = Some(Timestamp(i64::try_from(next_attempt).unwrap_or(i64::MAX)));
        if error.is_some() {
            status.error = error;
        }
    });
}
