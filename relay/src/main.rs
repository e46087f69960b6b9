//! The relay as one binary.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand, ValueEnum};
use headwater_relay::{Config, Exposure, serve};
use headwater_storage::{FeedStore, NewFeed, RedbFeed, WriterLimits};

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
}

#[derive(Args)]
struct Serve {
    /// Where to listen. Port 0 picks a free one; the address is printed on stdout.
    #[arg(long, default_value = "127.0.0.1:8787", env = "HEADWATER_RELAY_LISTEN")]
    listen: SocketAddr,
    /// The folder that the data is kept in. Made if it is not there.
    #[arg(long, env = "HEADWATER_RELAY_DATA")]
    data: PathBuf,
    /// Allow an address that other machines can reach, although there is no access control yet.
    #[arg(long)]
    insecure: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match cli.log {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    let Command::Serve(options) = cli.command;
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(options: Serve) -> Result<(), Box<dyn std::error::Error>> {
    let created_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let feed = RedbFeed::open(options.data.join("feed.redb"), NewFeed { created_ms })?;
    let mut config = Config::new(FeedStore::redb(feed, WriterLimits::default())?);
    if options.insecure {
        config.exposure = Exposure::Insecure;
    }
    let listener = tokio::net::TcpListener::bind(options.listen).await?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on {}", listener.local_addr()?)?;
    stdout.flush()?;
    serve(listener, config, stop_signal()?).await?;
    Ok(())
}

/// Resolves at SIGTERM or ctrl-c.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
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
