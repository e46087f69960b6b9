//! A relay and devices on a simulated network, each a host of its own, and what must hold of them in the end.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headwater::sync::Backoff;
use headwater::{
    ChangeHash, ConnectOptions, Connection, EntityId, Environment, Map, Phase, Receipt, Replica, SpaceId,
    Status, Value,
};
use headwater_relay::{Config, Exposure, serve};
use headwater_storage::{FeedStore, InMemoryBackend, NewFeed, PageLimit, RedbFeed, Seq, WriterLimits};
use tokio::sync::Notify;

use crate::net::{Eye, Net, PORT, Port};
use crate::seeds::Dice;

pub(crate) const SPACE: &str = "home";
pub(crate) const RELAY: &str = "relay";

/// The heartbeats of most tests, in milliseconds, on both sides.
pub(crate) const PING_MS: u64 = 1_000;
pub(crate) const DEAD_MS: u64 = 3_000;

/// The longest time between two attempts of a device to connect, in milliseconds.
pub(crate) const BACKOFF_MS_MAX: u64 = 2_000;

/// For whatever a few messages and commits take, in milliseconds.
pub(crate) const SLACK_MS: u64 = 1_500;

pub(crate) struct World {
    pub(crate) sim: turmoil::Sim<'static>,
    pub(crate) dice: Dice,
    pub(crate) relay: Site,
    pub(crate) devices: Vec<Device>,
}

/// A relay's store, and what it takes to run a relay on it again and again.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) feed: RedbFeed,
    pub(crate) eye: Arc<Eye>,
    stop: Arc<Notify>,
    /// How often a relay here has drained to its end.
    pub(crate) drained: Rc<Cell<usize>>,
    is_listening: Rc<Cell<bool>>,
    has_thread: bool,
}

pub(crate) struct Device {
    pub(crate) host: String,
    pub(crate) replica: Replica,
    pub(crate) eye: Arc<Eye>,
    /// What it wrote, with the entity.
    pub(crate) written: Vec<(EntityId, Receipt)>,
    connection: Rc<RefCell<Option<Connection>>>,
}

impl World {
    /// A step takes `tick_ms`. `segments_max` may be under way in one direction of a stream: a writer waits after that many, and a
    /// listener that has that many callers waiting breaks.
    pub(crate) fn new(seed: u64, tick_ms: u64, segments_max: usize) -> World {
        let mut dice = Dice::new(seed);
        let latency_ms_min = dice.within(0..=20);
        let latency_ms_max = latency_ms_min + dice.within(1..=80);
        let sim = turmoil::Builder::new()
            .rng_seed(seed)
            .enable_random_order()
            .tick_duration(Duration::from_millis(tick_ms))
            .min_message_latency(Duration::from_millis(latency_ms_min))
            .max_message_latency(Duration::from_millis(latency_ms_max))
            .tcp_capacity(segments_max)
            .build();
        let feed = RedbFeed::open_backend(InMemoryBackend::new(), NewFeed { created_ms: 0 }).unwrap();
        let relay = Site {
            feed,
            eye: Arc::default(),
            stop: Arc::default(),
            drained: Rc::default(),
            is_listening: Rc::default(),
            has_thread: false,
        };
        World { sim, dice, relay, devices: Vec::new() }
    }

    /// Has the relay commit in its writer's thread, as a real one does: slower, and not quite the same in each run.
    pub(crate) fn use_writer_thread(&mut self) {
        self.relay.has_thread = true;
    }

    /// Adds the relay's host. After each drain a new relay comes up there, `down_ms` later.
    pub(crate) fn add_relay(&mut self, down_ms: u64, change: impl Fn(&mut Config) + 'static) {
        let (site, change) = (self.relay.clone(), Rc::new(change));
        self.sim.host(RELAY, move || {
            let (site, change) = (site.clone(), Rc::clone(&change));
            async move {
                loop {
                    site.serve(&*change).await?;
                    site.drained.set(site.drained.get() + 1);
                    tokio::time::sleep(Duration::from_millis(down_ms)).await;
                }
            }
        });
        // Devices that come now find it listening.
        self.until("the relay listens", SLACK_MS, |world| world.relay.is_listening.get());
    }

    /// Adds a host where a device stays connected.
    pub(crate) fn add_device(&mut self, change: impl FnOnce(&mut ConnectOptions)) {
        let host = format!("device-{}", self.devices.len());
        let (device, start) = self.new_device(&host, change);
        self.sim.host(host, move || {
            start();
            pending()
        });
        self.devices.push(device);
    }

    /// Adds devices that share a host, because a step of the world costs time for each host.
    pub(crate) fn add_devices_on_one_host(&mut self, host: &str, count: usize, backoff_ms: u64) {
        let mut starts = Vec::new();
        for _ in 0..count {
            let (device, start) =
                self.new_device(host, |options| options.backoff = Backoff::new(backoff_ms, BACKOFF_MS_MAX));
            self.devices.push(device);
            starts.push(start);
        }
        self.sim.host(host, move || {
            starts.iter().for_each(|start| start());
            pending()
        });
    }

    fn new_device(
        &mut self,
        host: &str,
        change: impl FnOnce(&mut ConnectOptions),
    ) -> (Device, Box<dyn Fn()>) {
        let environment = Seeded { seed: self.dice.next(), calls: AtomicU64::new(0) };
        let replica = Replica::in_memory(environment).unwrap();
        let net = Net::default();
        let eye = Arc::clone(&net.eye);
        let mut options = ConnectOptions::new([space()]);
        options.backoff = Backoff::new(200, BACKOFF_MS_MAX);
        options.connect_timeout = Duration::from_secs(3);
        options.transport = Arc::new(net);
        options.silence_timeout = Duration::from_millis(DEAD_MS);
        change(&mut options);
        let connection = Rc::new(RefCell::new(None));
        let device = Device {
            host: host.to_owned(),
            replica: replica.clone(),
            eye,
            written: Vec::new(),
            connection: Rc::clone(&connection),
        };
        let start = move || {
            let connected = replica.connect(&url(), options.clone()).unwrap();
            *connection.borrow_mut() = Some(connected);
        };
        (device, Box::new(start))
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.sim.elapsed().as_millis() as u64
    }

    pub(crate) fn run_ms(&mut self, ms: u64) {
        let end = self.now_ms() + ms;
        while self.now_ms() < end {
            self.step();
        }
    }

    fn step(&mut self) {
        self.sim.step().unwrap();
        if self.relay.has_thread {
            // The thread lives in real time.
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Goes on until `is_so` holds, which must be within `ms_max`. Says how long it took, in milliseconds.
    pub(crate) fn until(&mut self, what: &str, ms_max: u64, is_so: impl Fn(&World) -> bool) -> u64 {
        let start = self.now_ms();
        while !is_so(self) {
            let waited_ms = self.now_ms() - start;
            assert!(waited_ms <= ms_max, "not within {ms_max} ms: {what}\n{}", self.summary());
            self.step();
        }
        self.now_ms() - start
    }

    /// Writes something new on a device.
    pub(crate) fn edit(&mut self, device: usize) {
        self.edit_with(device, "short".to_owned());
    }

    pub(crate) fn edit_with(&mut self, device: usize, text: String) {
        let device = &mut self.devices[device];
        let fields = Map::from([("text".into(), Value::from(text))]);
        let written = device.replica.space(SPACE).dynamic("lists").unwrap().insert(fields).unwrap();
        device.written.push((written.id, written.receipt));
    }

    /// Some time in which some devices write now and then.
    pub(crate) fn busy_ms(&mut self, ms: u64) {
        let end = self.now_ms() + ms;
        while self.now_ms() < end {
            let device = self.dice.within(0..=self.devices.len() as u64 - 1) as usize;
            self.edit(device);
            let pause_ms = self.dice.within(1..=120).min(end - self.now_ms());
            self.run_ms(pause_ms);
        }
    }

    pub(crate) fn is_up_to_date(&self) -> bool {
        self.devices.iter().all(|device| device.status().phase == Phase::UpToDate)
    }

    /// Goes on until everything that was written anywhere is everywhere, and checks that it is there once.
    pub(crate) fn until_even(&mut self, ms_max: u64) -> u64 {
        let total = self.devices.iter().map(|device| device.written.len()).sum::<usize>();
        let took_ms = self.until("all devices are even", ms_max, |world| {
            let is_even = |device: &Device| device.count() == total && device.status().pending == 0;
            world.is_up_to_date() && world.devices.iter().all(is_even)
        });
        let first = self.devices[0].replica.entity_positions(space(), None, usize::MAX).unwrap();
        assert_eq!(first.len(), total);
        for device in &self.devices {
            assert_eq!(device.replica.entity_positions(space(), None, usize::MAX).unwrap(), first);
            for (_, receipt) in &device.written {
                assert!(receipt.is_on_relay().unwrap());
            }
        }
        assert_eq!(self.relay.changes().len(), total, "each insert is one change");
        took_ms
    }

    pub(crate) fn summary(&self) -> String {
        let mut lines = vec![format!(
            "at {} ms: the relay has {} streams and {} changes",
            self.now_ms(),
            self.relay.eye.open(),
            self.relay.changes().len()
        )];
        for device in &self.devices {
            let (status, count, open) = (device.status(), device.count(), device.eye.open());
            lines.push(format!("{}: {count} entities, {open} streams, {status:?}", device.host));
        }
        lines.join("\n")
    }
}

impl Site {
    /// One relay, from its start until it has drained.
    pub(crate) async fn serve(&self, change: &dyn Fn(&mut Config)) -> turmoil::Result {
        let store = match self.has_thread {
            true => FeedStore::redb(self.feed.clone(), WriterLimits::default())?,
            false => FeedStore::inline(self.feed.clone()),
        };
        let mut config = Config::new(store);
        config.exposure = Exposure::Insecure;
        config.session.limits.ping_interval_ms = PING_MS;
        config.session.limits.dead_after_ms = DEAD_MS;
        change(&mut config);
        let port = Port::bind(&self.eye).await?;
        self.is_listening.set(true);
        serve(port, config, self.stop.notified()).await?;
        Ok(())
    }

    pub(crate) fn stop(&self) {
        self.stop.notify_one();
    }

    /// What the feed holds. Fails if a seq is missing, a change is there twice, or the chain of hashes does not hold.
    pub(crate) fn changes(&self) -> HashSet<(EntityId, ChangeHash)> {
        if self.feed.head(space()).unwrap().is_none() {
            return HashSet::new();
        }
        let limit = PageLimit { entries_max: usize::MAX, bytes_max: usize::MAX };
        let rows = self.feed.read_by_seq(space(), Seq::ZERO, limit).unwrap().rows;
        assert_eq!(self.feed.verify_chain(space(), Seq::ZERO, usize::MAX).unwrap(), None, "the chain breaks");
        let seqs: Vec<u64> = rows.iter().map(|row| row.seq.get()).collect();
        assert_eq!(seqs, (1..=rows.len() as u64).collect::<Vec<_>>(), "the feed is not dense");
        let changes: HashSet<_> = rows.iter().map(|row| (row.record.entity, row.record.hash)).collect();
        assert_eq!(changes.len(), rows.len(), "a change is there twice");
        changes
    }
}

impl Device {
    pub(crate) fn status(&self) -> Status {
        self.connection.borrow().as_ref().map(Connection::status).unwrap_or_default()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.status().phase
    }

    fn count(&self) -> usize {
        self.replica.entity_positions(space(), None, usize::MAX).unwrap().len()
    }
}

pub(crate) fn space() -> SpaceId {
    SpaceId::from_name(SPACE)
}

pub(crate) fn url() -> String {
    format!("ws://{RELAY}:{PORT}")
}

/// Ids follow from the seed, and time goes on with every look at it.
struct Seeded {
    seed: u64,
    calls: AtomicU64,
}

impl Environment for Seeded {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000 + self.calls.fetch_add(1, Ordering::Relaxed)
    }

    fn random(&self) -> u128 {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut dice = Dice::new(self.seed ^ call.rotate_left(32));
        u128::from(dice.next()) << 64 | u128::from(dice.next())
    }
}
