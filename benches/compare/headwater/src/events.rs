//! One listener for each replica that hands its patches out by entity, as an app's views would have it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use headwater::{EntityId, Replica};
use tokio::sync::mpsc;

/// Who wants to hear of which entity.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<HashMap<EntityId, Vec<mpsc::UnboundedSender<()>>>>>);

impl Events {
    /// Hears of everything that changes in `replica`, until it is closed.
    pub(crate) fn of(replica: &Replica) -> Events {
        let events = Events::default();
        let (mut patches, told) = (replica.patches(), events.clone());
        tokio::spawn(async move {
            while let Some(patch) = patches.next().await {
                match patch {
                    Ok(patch) => told.tell(Some(patch.entity)),
                    // Some were missed, so anything may have changed.
                    Err(_missed) => told.tell(None),
                }
            }
        });
        events
    }

    /// From now on, one message for each change of the entity.
    pub(crate) fn listen(&self, id: EntityId) -> mpsc::UnboundedReceiver<()> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default().push(sender);
        receiver
    }

    fn tell(&self, id: Option<EntityId>) {
        let listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told = listeners.iter().filter(|(entity, _)| id.is_none_or(|id| id == **entity));
        for sender in told.flat_map(|(_, senders)| senders) {
            // Whoever stopped listening does not want to know.
            let _gone = sender.send(()).is_err();
        }
    }
}
