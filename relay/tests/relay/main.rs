//! Replicas that sync through a relay over real sockets on 127.0.0.1.

mod running;
mod sync;
