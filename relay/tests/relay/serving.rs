//! Which requests and addresses a relay answers.

use headwater_relay::{Config, Exposure, ServeError, serve};
use headwater_storage::{FeedStore, InMemoryBackend, NewFeed, RedbFeed, WriterLimits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::running::Relay;

#[tokio::test(flavor = "multi_thread")]
async fn health_is_answered_over_plain_http() {
    // Would make a supervisor restart a healthy relay.
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::start(directory.path()).await;
    let mut stream = TcpStream::connect(relay.address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok\n"), "{answer}");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_others_can_reach_is_refused_unless_allowed() {
    // Would put everybody's data on the network, as long as there is no access control.
    let config = || {
        let feed = RedbFeed::open_backend(InMemoryBackend::new(), NewFeed { created_ms: 0 }).unwrap();
        Config::new(FeedStore::redb(feed, WriterLimits::default()).unwrap())
    };
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let refused = serve(listener, config(), std::future::pending()).await;
    assert!(matches!(refused, Err(ServeError::NotLoopback(at)) if at == address), "{refused:?}");
    let mut insecure = config();
    insecure.exposure = Exposure::Insecure;
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    serve(listener, insecure, std::future::ready(())).await.unwrap();
}

#[test]
fn a_relay_that_may_not_serve_does_not_say_that_it_listens() {
    // Would let a script go on that waits for the line, and make a folder of data for a relay that never ran.
    use std::process::Command;
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let serve = |address: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headwater-relay"));
        command.args(["serve", "--listen", address, "--data"]).arg(&data).env_clear().output().unwrap()
    };
    for address in ["0.0.0.0:0", "[::]:0"] {
        let refused = serve(address);
        let (said, logged) =
            (String::from_utf8(refused.stdout).unwrap(), String::from_utf8(refused.stderr).unwrap());
        assert_eq!((refused.status.code(), said.as_str()), (Some(1), ""), "{logged}");
        assert!(logged.contains("--insecure") && logged.contains("127.0.0.1"), "{logged}");
        // Into a pipe without colours, whose codes would hide the words.
        assert!(!logged.contains('\u{1b}'), "{logged}");
        assert!(!data.exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_page_from_elsewhere_cannot_use_a_local_relay() {
    // Would let any website that the user visits read and write everything on a local relay.
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    use tokio_tungstenite::tungstenite::{Error, http::HeaderValue};
    let directory = tempfile::tempdir().unwrap();
    let relay = Relay::start(directory.path()).await;
    for (origin, is_allowed) in [("https://example.org", false), ("http://localhost:5173", true)] {
        let mut request = format!("{}/sync", relay.url()).into_client_request().unwrap();
        request.headers_mut().insert("Origin", HeaderValue::from_static(origin));
        match tokio_tungstenite::connect_async(request).await {
            Ok(_) => assert!(is_allowed, "{origin}"),
            Err(Error::Http(response)) => assert!(!is_allowed && response.status() == 403, "{origin}"),
            Err(error) => panic!("{origin}: {error}"),
        }
    }
    relay.stop().await;
}
