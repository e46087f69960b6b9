//! The relay as one binary.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand, ValueEnum};
use headwater_relay::admin::{self, Reply, Request};
use headwater_relay::{Config, Exposure, may_serve, serve};
use headwater_storage::{FeedStore, NewFeed, PostgresFeed, PostgresOptions, RedbFeed, WriterLimits};

/// Keeps changes, and passes them on between devices.
#[derive(Parser)]
#[command(name = "headwater-relay", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How logs are written to stderr. What is logged is set by RUST_LOG, such as `RUST_LOG=debug`.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, global = true)]
    log: LogFormat,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or ctrl-c.
    Serve(Serve),
    /// Walk all feeds, say what is damaged, and have replicas asked for whole copies of it. Works beside a running relay.
    Verify(Place),
    /// Changes that everybody leaves out, because their entities would not load with them. Works beside a running relay.
    Quarantine {
        #[command(subcommand)]
        action: Quarantine,
        #[command(flatten)]
        place: Place,
    },
    /// Entities as rows: what SQL shows of them. Works beside a running relay.
    Project {
        #[command(subcommand)]
        action: Project,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Subcommand)]
enum Project {
    /// Print the entities of a space, one JSON object a line. On any store.
    Ls {
        /// The space, by its name or its UUID.
        space: String,
        /// Only this collection.
        #[arg(long)]
        collection: Option<String>,
    },
    /// Make all rows of the database again from the feed.
    Rebuild,
}

#[derive(Args)]
struct Serve {
    /// Where to listen. Port 0 picks a free one; the address is printed on stdout.
    #[arg(long, default_value = "127.0.0.1:8787", env = "HEADWATER_RELAY_LISTEN")]
    listen: SocketAddr,
    #[command(flatten)]
    place: Place,
    /// Allow an address that other machines can reach, although there is no access control yet.
    #[arg(long)]
    insecure: bool,
    /// Connections at the same time from one address: more, where a load balancer stands in front.
    #[arg(long, default_value_t = 50)]
    connections_per_address: usize,
    /// How long the database remembers who pushed what, in days.
    #[arg(long, default_value_t = 90)]
    audit_days: u64,
}

/// Where the feeds are: in a folder, or in a database that several relays share.
#[derive(Args)]
struct Place {
    /// The folder that the data is kept in. Made if it is not there.
    #[arg(long, env = "HEADWATER_RELAY_DATA", global = true)]
    data: Option<PathBuf>,
    /// Keep the data in this database instead: postgres://user:password@host/database. Any number of relays may share it.
    #[arg(
        long,
        env = "HEADWATER_RELAY_DATABASE_URL",
        global = true,
        hide_env_values = true,
        conflicts_with = "data"
    )]
    database_url: Option<String>,
    /// A file of PEM certificates that the database's certificate is checked against, in place of this machine's.
    #[arg(long, env = "HEADWATER_RELAY_DATABASE_CA", global = true)]
    database_ca: Option<PathBuf>,
    /// How often to look for what other relays have stored, where the database does not tell, in milliseconds.
    #[arg(long, default_value_t = 500, global = true)]
    database_poll_ms: u64,
}

#[derive(Subcommand)]
enum Quarantine {
    /// List them, one line each: hash, entity, when, reason.
    Ls,
    /// All that is known of one, as JSON.
    Show {
        /// The change, or the first digits of its hash.
        hash: String,
    },
    /// Take one in again, if its entity loads with it by now.
    Release {
        /// The change, or the first digits of its hash.
        hash: String,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    // Colours are for people: in a file or a pipe their codes hide the words.
    let is_coloured =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let logs =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(is_coloured);
    match cli.log {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    let done = match cli.command {
        Command::Serve(options) => run(options).map(|()| ExitCode::SUCCESS),
        Command::Quarantine { action, place } => ask(action.request(), &place),
        Command::Project { action, place } => show(action, &place),
        Command::Verify(place) => ask(Request::Verify, &place),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(options: Serve) -> Result<(), Box<dyn std::error::Error>> {
    let exposure = if options.insecure { Exposure::Insecure } else { Exposure::LoopbackOnly };
    // Before the data is opened, or made: what may not be served leaves nothing behind.
    may_serve(options.listen, exposure)?;
    let mut config = options.place.open().await?;
    config.exposure = exposure;
    config.admin_socket = options.place.data.as_ref().map(|data| data.join(admin::SOCKET));
    config.audit_days = options.audit_days;
    config.connections_per_address_max = options.connections_per_address;
    let listener = tokio::net::TcpListener::bind(options.listen).await?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on {}", listener.local_addr()?)?;
    stdout.flush()?;
    serve(listener, config, stop_signal()?).await?;
    Ok(())
}

#[tokio::main]
async fn show(action: Project, place: &Place) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut stdout = std::io::stdout();
    let (space, collection) = match action {
        Project::Ls { space, collection } => (space, collection),
        Project::Rebuild => {
            let forgotten = headwater_relay::sql::rebuild(place.open().await?).await?;
            writeln!(stdout, "rows forgotten, and made again: {forgotten}")?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let mut after = None;
    loop {
        let request = Request::Entities { space: space.clone(), collection: collection.clone(), after };
        match place.ask(&request).await? {
            Reply::Entities { rows, next } => {
                for row in rows {
                    writeln!(stdout, "{row}")?;
                }
                match next {
                    Some(next) => after = Some(next),
                    None => return Ok(ExitCode::SUCCESS),
                }
            }
            Reply::Refused(reason) => return Err(reason.into()),
            _ => return Err("the relay answered something else".into()),
        }
    }
}

impl Place {
    /// Asks the relay that runs here, or the store itself.
    async fn ask(&self, request: &Request) -> Result<Reply, Box<dyn std::error::Error>> {
        match &self.data {
            Some(data) if !data.join("feed.redb").exists() => {
                Err(format!("there is no relay's data in {}", data.display()).into())
            }
            Some(data) => admin::ask(data, request, || self.open()).await,
            // Whatever is done to the database, the relays on it see.
            None => Ok(admin::ask_store(self.open().await?, request.clone()).await),
        }
    }

    async fn open(&self) -> Result<Config, Box<dyn std::error::Error>> {
        if let Some(url) = &self.database_url {
            if self.data.is_some() {
                return Err("both a folder and a database are named; the data is in one of them".into());
            }
            let mut options = PostgresOptions::new(url);
            options.ca_file.clone_from(&self.database_ca);
            options.poll_ms = self.database_poll_ms;
            let feed = PostgresFeed::open(options).await?;
            return Ok(Config::new(FeedStore::postgres(feed, WriterLimits::default())));
        }
        let data =
            self.data.as_ref().ok_or("name a folder with --data, or a database with --database-url")?;
        let created_ms =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let feed = RedbFeed::open(data.join("feed.redb"), NewFeed { created_ms })?;
        Ok(Config::new(FeedStore::redb(feed, WriterLimits::default())?))
    }
}

impl Quarantine {
    fn request(self) -> Request {
        match self {
            Quarantine::Ls => Request::List,
            Quarantine::Show { hash } => Request::Show { hash },
            Quarantine::Release { hash } => Request::Release { hash },
        }
    }
}

#[tokio::main]
async fn ask(request: Request, place: &Place) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let reply = place.ask(&request).await?;
    let mut stdout = std::io::stdout();
    match reply {
        Reply::Listed(entries) => {
            for entry in entries {
                writeln!(stdout, "{}  {}  {}  {}", entry.hash, entry.entity, entry.at_ms, entry.reason)?;
            }
        }
        Reply::Released(hashes) => {
            for hash in hashes {
                writeln!(stdout, "released {hash}")?;
            }
        }
        Reply::Verified { rows, damaged, broken, snapshots_dropped, alarms } => {
            writeln!(stdout, "rows: {rows}, damaged: {}", damaged.len())?;
            for (space, entity, hash, seq) in &damaged {
                writeln!(stdout, "damaged: change {hash} of entity {entity}, at {seq} of space {space}")?;
            }
            for (space, why) in &broken {
                writeln!(
                    stdout,
                    "broken: space {space}: {why}; move its files away, and replicas push back what they hold"
                )?;
            }
            if snapshots_dropped > 0 {
                writeln!(stdout, "{snapshots_dropped} damaged snapshots dropped; nothing is lost with them")?;
            }
            for (space, entity, alarm) in &alarms {
                writeln!(stdout, "alarm: entity {entity} of space {space}: {alarm}; please report this")?;
            }
            return Ok(if damaged.is_empty() && broken.is_empty() && alarms.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        Reply::Refused(reason) => {
            writeln!(std::io::stderr(), "{reason}")?;
            return Ok(ExitCode::FAILURE);
        }
        shown => writeln!(stdout, "{}", serde_json::to_string_pretty(&shown)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Resolves at SIGTERM or ctrl-c.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    let mut terminate = {
        use tokio::signal::unix::{SignalKind, signal};
        /// By itself it ends a program that writes beyond the size that its files may have. Heeded, the write fails.
        const SIGXFSZ: i32 = 25;
        drop(signal(SignalKind::from_raw(SIGXFSZ))?);
        signal(SignalKind::terminate())?
    };
    Ok(async move {
        #[cfg(unix)]
        let terminated = terminate.recv();
        #[cfg(not(unix))]
        let terminated = std::future::pending::<Option<()>>();
        tokio::select! {
            _ = terminated => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    })
}
