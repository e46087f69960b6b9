//! Entities that are wrong in a way for which no change is at fault. They go on, without a snapshot, until
//! somebody has looked.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use headwater::document::Alarm;
use headwater_storage::{EntityId, SpaceId};

/// Entities whose alarms are remembered. Of more, only the log tells.
const ALARMS_MAX: usize = 10_000;

/// The alarms that were raised since the relay started.
#[derive(Default)]
pub(crate) struct Alarms {
    raised: Mutex<BTreeMap<(SpaceId, EntityId), Alarm>>,
}

impl Alarms {
    /// Takes note of what an examination came to. An alarm that goes on is logged once.
    pub(crate) fn note(&self, space: SpaceId, entity: EntityId, alarm: Option<&Alarm>) {
        // A std mutex, because nothing awaits while holding it.
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(alarm) = alarm else {
            raised.remove(&(space, entity));
            return;
        };
        if raised.get(&(space, entity)) == Some(alarm) {
            return;
        }
        tracing::error!(%space, %entity, %alarm, "alarm: nothing is left out for it, and there is no snapshot; please report it");
        if raised.len() < ALARMS_MAX || raised.contains_key(&(space, entity)) {
            raised.insert((space, entity), alarm.clone());
        }
    }

    /// All of them.
    pub(crate) fn list(&self) -> Vec<(SpaceId, EntityId, Alarm)> {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        raised.iter().map(|((space, entity), alarm)| (*space, *entity, alarm.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_stays_until_an_examination_finds_the_entity_well() {
        // Would leave an operator with a log line that nobody saw, or with an alarm about what was mended
        // long ago.
        let (alarms, space, entity) =
            (Alarms::default(), SpaceId::from_name("home"), EntityId::from_bytes([1; 16]));
        alarms.note(space, entity, Some(&Alarm::OtherHeads));
        alarms.note(space, entity, Some(&Alarm::OtherHeads));
        assert_eq!(alarms.list(), [(space, entity, Alarm::OtherHeads)]);
        alarms.note(space, entity, None);
        assert!(alarms.list().is_empty());
    }
}
