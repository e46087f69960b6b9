//! Ctrl-c and SIGTERM, for the verbs that have something to say before they end.

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, mpsc};

use tokio::runtime::Builder;

use crate::failure::Failure;

/// Who asked the program to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl-c.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Signal {
    /// Its number, which is the same on every system.
    pub(crate) fn number(self) -> u8 {
        match self {
            Signal::Interrupt => 2,
            Signal::Terminate => 15,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Signal::Interrupt => "ctrl-c",
            Signal::Terminate => "SIGTERM",
        }
    }
}

/// Whether the program was asked to end, for code that waits for nothing.
pub(crate) struct Stop {
    /// The signal's number, or 0 until then.
    asked: Arc<AtomicU8>,
}

impl Stop {
    /// Listens from now on. Asked a second time, the program ends at once: a replica survives that.
    pub(crate) fn listen() -> io::Result<Stop> {
        let asked = Arc::new(AtomicU8::new(0));
        let heard = Arc::clone(&asked);
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let (ready, is_ready) = mpsc::channel();
        std::thread::spawn(move || {
            runtime.block_on(async {
                let mut signals = Signals::listen();
                let is_listening =
                    signals.as_ref().map(|_| ()).map_err(|error| io::Error::from(error.kind()));
                // Whoever asked waits for it.
                let _is_waiting = ready.send(is_listening).is_ok();
                if let Ok(signals) = &mut signals {
                    heard.store(signals.next().await.number(), Ordering::SeqCst);
                    std::process::exit(Failure::Stopped(signals.next().await).code().into());
                }
            });
        });
        is_ready.recv().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))?;
        Ok(Stop { asked })
    }

    pub(crate) fn asked(&self) -> Option<Signal> {
        let number = self.asked.load(Ordering::SeqCst);
        [Signal::Interrupt, Signal::Terminate].into_iter().find(|signal| signal.number() == number)
    }
}

/// The signals as they come, for code that can wait for them.
pub(crate) struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    pub(crate) fn listen() -> io::Result<Signals> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            Ok(Signals {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
            })
        }
        #[cfg(not(unix))]
        Ok(Signals {})
    }

    pub(crate) async fn next(&mut self) -> Signal {
        #[cfg(unix)]
        return tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        };
        #[cfg(not(unix))]
        {
            match tokio::signal::ctrl_c().await {
                Ok(()) => Signal::Interrupt,
                Err(_) => std::future::pending().await,
            }
        }
    }
}
