//! Who may connect: so many at once, and so many from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Counts connections.
#[derive(Debug)]
pub(crate) struct Admission {
    all: Arc<Semaphore>,
    per_address_max: usize,
    /// address -> its connections, for those that have any
    addresses: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection's place. Dropping it makes room for another.
#[derive(Debug)]
pub(crate) struct Admitted {
    _permit: OwnedSemaphorePermit,
    counted: Option<(Arc<Admission>, IpAddr)>,
}

impl Admission {
    pub(crate) fn new(connections_max: usize, per_address_max: usize) -> Arc<Admission> {
        let all = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
        Arc::new(Admission { all, per_address_max, addresses: Mutex::default() })
    }

    /// A place for a connection from `address`. `None` if there is no room.
    pub(crate) fn admit(self: &Arc<Admission>, address: IpAddr) -> Option<Admitted> {
        let permit = Arc::clone(&self.all).try_acquire_owned().ok()?;
        // An IPv4 client of an IPv6 socket is the same client; and behind one address of this machine may be anybody.
        let address = address.to_canonical();
        if address.is_loopback() {
            return Some(Admitted { _permit: permit, counted: None });
        }
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = addresses.entry(address).or_default();
        if *count >= self.per_address_max {
            return None;
        }
        *count += 1;
        Some(Admitted { _permit: permit, counted: Some((Arc::clone(self), address)) })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let Some((admission, address)) = &self.counted else { return };
        let mut addresses = admission.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = addresses.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_the_room() {
        // Would let one machine keep everybody else out.
        let admission = Admission::new(5, 2);
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|address| address.parse().unwrap());
        let mapped = "::ffff:192.0.2.1".parse().unwrap();
        let first = admission.admit(one).unwrap();
        let _second = admission.admit(mapped).unwrap();
        assert!(admission.admit(one).is_none(), "a third of the same");
        let _third = admission.admit(other).unwrap();
        drop(first);
        let _again = admission.admit(one).unwrap();
        let here: Vec<Admitted> =
            (0..4).map_while(|_| admission.admit("127.0.0.1".parse().unwrap())).collect();
        assert_eq!(here.len(), 2, "as many as there is room for");
        assert_eq!(admission.addresses.lock().unwrap().len(), 2);
    }
}
