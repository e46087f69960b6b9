//! Connections: where the database is, how long anything may take, and TLS.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::DatabaseError;
use crate::error::StoreError;

/// Where the database is, and how it is used. Times are in milliseconds.
///
/// ```
/// use headwater_storage::PostgresOptions;
/// let options = PostgresOptions::new("postgres://relay@db.example/headwater");
/// assert_eq!(options.poll_ms, 500);
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database`, with the parameters of libpq that tokio-postgres knows.
    ///
    /// A host other than this machine is only spoken to over TLS, with its certificate verified, unless the URL says
    /// `sslmode=disable`.
    pub url: String,
    /// A file of PEM certificates to trust, in place of the machine's own.
    pub ca_file: Option<PathBuf>,
    /// The most connections. Two more tell other relays what is new, and hear of it.
    pub connections_max: usize,
    /// Transactions that append at the same time. Each takes in all that waits when it begins.
    pub writers: usize,
    /// The time to reach the database, or to wait for a free connection.
    pub connect_ms_max: u64,
    /// The time for one statement.
    pub statement_ms_max: u64,
    /// The time to wait for a lock.
    pub lock_ms_max: u64,
    /// The time that a transaction of a relay that has stopped answering may hold its locks.
    pub idle_transaction_ms_max: u64,
    /// How often to look for what other relays have stored, where the database does not tell.
    pub poll_ms: u64,
}

impl PostgresOptions {
    /// The defaults, for the database at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ca_file: None,
            connections_max: 16,
            writers: 2,
            connect_ms_max: 5_000,
            statement_ms_max: 30_000,
            lock_ms_max: 10_000,
            idle_transaction_ms_max: 30_000,
            poll_ms: 500,
        }
    }

    /// What the URL says, with the limits of these options.
    pub(super) fn config(&self) -> Result<Config, DatabaseError> {
        let mut config: Config = self.url.parse().map_err(|error| DatabaseError::Url(full(&error)))?;
        let is_here = config.get_hosts().iter().all(|host| match host {
            Host::Tcp(name) => matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1"),
            #[cfg(unix)]
            Host::Unix(_) => true,
        }) && config.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback);
        if config.get_ssl_mode() == SslMode::Prefer && !is_here {
            // To prefer TLS is to do without it whenever somebody in between says so.
            config.ssl_mode(SslMode::Require);
        }
        let time = Duration::from_millis;
        config.connect_timeout(time(self.connect_ms_max));
        config.tcp_user_timeout(time(self.statement_ms_max));
        config.keepalives_idle(Duration::from_secs(30));
        if config.get_application_name().is_none() {
            config.application_name("headwater-relay");
        }
        Ok(config)
    }

    /// The time after which an answer is not waited for any more: all the limits that the database keeps by itself are over by then.
    pub(super) fn answer_max(&self) -> Duration {
        Duration::from_millis(self.statement_ms_max.saturating_add(self.lock_ms_max))
    }

    /// What every new connection is told.
    pub(super) fn settings(&self) -> String {
        format!(
            "SET statement_timeout = {}; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}; \
             SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit', true) = 'off'",
            self.statement_ms_max, self.lock_ms_max, self.idle_transaction_ms_max
        )
    }

    pub(super) fn tls(&self) -> Result<MakeRustlsConnect, DatabaseError> {
        let mut roots = RootCertStore::empty();
        match &self.ca_file {
            Some(path) => {
                let failed = |error: &dyn std::fmt::Display| {
                    DatabaseError::Tls(format!("{}: {error}", path.display()))
                };
                for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))? {
                    roots
                        .add(certificate.map_err(|error| failed(&error))?)
                        .map_err(|error| failed(&error))?;
                }
            }
            None => {
                // Those that cannot be read are not trusted.
                let (_added, _ignored) =
                    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| DatabaseError::Tls(error.to_string()))?;
        Ok(MakeRustlsConnect::new(config.with_root_certificates(roots).with_no_client_auth()))
    }

    pub(super) fn pool(&self) -> Result<Pool, DatabaseError> {
        let recycling_method = RecyclingMethod::Fast;
        let manager = Manager::from_config(self.config()?, self.tls()?, ManagerConfig { recycling_method });
        let settings: Arc<str> = self.settings().into();
        let hook = Hook::async_fn(move |client: &mut deadpool_postgres::ClientWrapper, _| {
            let settings = Arc::clone(&settings);
            Box::pin(async move { client.batch_execute(&settings).await.map_err(HookError::Backend) })
        });
        let time = Duration::from_millis(self.connect_ms_max);
        let pool = Pool::builder(manager)
            .max_size(self.connections_max.max(2))
            .wait_timeout(Some(time))
            .create_timeout(Some(time))
            .recycle_timeout(Some(time))
            .runtime(Runtime::Tokio1)
            .post_create(hook);
        pool.build().map_err(|error| DatabaseError::Url(error.to_string()))
    }
}

impl std::fmt::Debug for PostgresOptions {
    /// Without the URL, which holds a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresOptions").finish_non_exhaustive()
    }
}

/// A connection of the pool.
pub(super) async fn client(pool: &Pool) -> Result<Object, StoreError> {
    pool.get().await.map_err(|error| StoreError::Unavailable(full(&error)))
}

/// Gives up a connection that does not answer. Something in between, such as a pooler, may keep it open for ever.
pub(super) fn silent(client: Object) -> StoreError {
    drop(Object::take(client));
    StoreError::Unavailable("the database does not answer".to_owned())
}

/// An error with all its causes.
pub(super) fn full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// Whether the same transaction may succeed when it is tried again at once.
pub(super) fn is_transient(error: &tokio_postgres::Error) -> bool {
    matches!(
        error.code(),
        Some(
            &SqlState::T_R_SERIALIZATION_FAILURE
                | &SqlState::T_R_DEADLOCK_DETECTED
                | &SqlState::UNIQUE_VIOLATION
        )
    )
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Unavailable(full(&error))
    }
}
