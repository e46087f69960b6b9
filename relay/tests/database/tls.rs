//! The way to a database on another machine: only over TLS, and only to whom the certificate names.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use headwater_storage::testing::Postgres;

use crate::devices::until;
use crate::process::RelayProcess;

/// Would hand everything, and a password, to whoever stands between relay and database.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_only_talks_to_the_database_that_its_certificates_name() {
    let server = tokio::task::block_in_place(|| Postgres::private(&["fsync=off"]).unwrap());
    let database = server.database().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let [trusted, other] = ["trusted", "other"].map(|name| authority(folder.path(), name));
    let required = format!("{database}?sslmode=require");
    let refused = |url: &str, ca: &Path| {
        let options = ["--database-ca", ca.to_str().unwrap()];
        tokio::task::block_in_place(|| RelayProcess::try_start_on(url, &options).map(|_| ()).unwrap_err())
    };

    let log = refused(&required, &trusted);
    assert!(log.contains("server does not support TLS"), "{log}");

    use_tls(&server, &database, folder.path(), "trusted");
    let is_on = || server.psql(&required, "SHOW ssl").is_ok_and(|ssl| ssl == "on");
    until("the server has TLS", Duration::from_millis(20), is_on).await;
    let ca = ["--database-ca", trusted.to_str().unwrap()];
    let relay = tokio::task::block_in_place(|| RelayProcess::start_on(&required, &ca));
    let plain = "SELECT count(*), count(*) FILTER (WHERE s.ssl) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
                 WHERE a.application_name = 'headwater-relay'";
    let counts = server.psql(&database, plain).unwrap();
    let (all, over_tls) = counts.split_once('|').unwrap();
    assert!(all == over_tls && all != "0", "{counts}");
    drop(relay);

    let log = refused(&required, &other);
    assert!(log.contains("UnknownIssuer"), "{log}");
    // The same server, by a name that its certificate does not have.
    let log = refused(&required.replace("127.0.0.1", "localhost"), &trusted);
    assert!(log.contains("not valid for name"), "{log}");
    // Nothing that is no certificate is trusted by mistake.
    let log = refused(&required, &folder.path().join("trusted.key"));
    assert!(log.contains("certificate"), "{log}");
}

/// Makes an authority, and a certificate of it for 127.0.0.1. Gives the file to trust.
fn authority(folder: &Path, name: &str) -> PathBuf {
    let run = |arguments: &[&str]| {
        let made = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    let [ca, key, request, certificate, names] =
        ["ca.pem", "ca.key", "csr", "crt", "ext"].map(|kind| format!("{name}.{kind}"));
    let server_key = format!("{name}.key");
    let new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let subject = format!("/CN={name}");
    let root = ["req", "-x509", "-days", "2", "-subj", &subject, "-keyout", &key, "-out", &ca];
    run(&[&root[..], &new[..]].concat());
    let asked = ["req", "-subj", "/CN=database", "-keyout", &server_key, "-out", &request];
    run(&[&asked[..], &new[..]].concat());
    fs::write(folder.join(&names), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").unwrap();
    let sign = ["x509", "-req", "-days", "2", "-in", &request, "-CA", &ca, "-CAkey", &key, "-CAcreateserial"];
    run(&[&sign[..], &["-extfile", &names, "-out", &certificate]].concat());
    folder.join(ca)
}

/// Gives the server its certificate, and its key as Postgres wants it: its own, and nobody else's to read.
fn use_tls(server: &Postgres, database: &str, folder: &Path, name: &str) {
    let owner = fs::metadata(server.folder().unwrap()).unwrap();
    let [certificate, key] = ["crt", "key"].map(|kind| {
        let file = server.folder().unwrap().join(kind);
        fs::copy(folder.join(format!("{name}.{kind}")), &file).unwrap();
        chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        file.display().to_string()
    });
    // Each of these has to be a transaction of its own.
    for setting in
        [format!("ssl_cert_file = '{certificate}'"), format!("ssl_key_file = '{key}'"), "ssl = on".to_owned()]
    {
        server.psql(database, &format!("ALTER SYSTEM SET {setting}")).unwrap();
    }
    server.psql(database, "SELECT pg_reload_conf()").unwrap();
}
