//! What is meant by edits of texts and lists is what becomes of them, where devices edit offline and SQL writes whole values.
//! `HEADWATER_INTENTS=N` plays as many cases of each form.

use headwater::model::{JsonStyle, json_from_map, map_from_json_text};
use headwater::{DynamicCollection, EntityId, Map, Replica, Value};
use headwater_fuzz::Random;
use headwater_fuzz::intent::{Case, Devices, Edit, FIELD, Form, cases, large_cases};
use tokio::runtime::Runtime;

use crate::bed::{Bed, Relay, SPACE, sync};

/// Replicas, and SQL as the last of the devices.
struct WithSql {
    runtime: Runtime,
    bed: Bed,
    relay: Option<Relay>,
    replicas: Vec<Replica>,
    /// Another one for each case.
    entity: EntityId,
    form: Form,
}

impl WithSql {
    fn new() -> WithSql {
        let runtime = Runtime::new().unwrap();
        let bed = Bed::new();
        let relay = runtime.block_on(bed.relay());
        let entity = EntityId::from_bytes([0; 16]);
        WithSql { runtime, bed, relay: Some(relay), replicas: Vec::new(), entity, form: Form::Text }
    }

    fn bodies(&self, device: usize) -> DynamicCollection {
        self.replicas[device].space(SPACE).dynamic("bodies").unwrap()
    }

    fn sync(&self, device: usize) {
        self.runtime.block_on(sync(&self.replicas[device], self.relay.as_ref().unwrap()));
    }

    fn settled(&self) {
        self.runtime.block_on(self.bed.settled());
    }

    /// Plays a case on an entity of its own.
    fn play(&mut self, case: Case) {
        while self.replicas.len() + 1 < case.devices {
            self.replicas.push(self.bed.replica(&format!("device {}", self.replicas.len())));
        }
        self.replicas.truncate(case.devices - 1);
        let id = u128::from(case.number) << 64 | (case.form as u128 + 1);
        self.entity = EntityId::from_bytes(id.to_be_bytes());
        self.form = case.form;
        case.play(self);
    }
}

impl Drop for WithSql {
    fn drop(&mut self) {
        if let Some(relay) = self.relay.take() {
            self.runtime.block_on(relay.stop());
        }
    }
}

impl Devices for WithSql {
    fn len(&self) -> usize {
        self.replicas.len() + 1
    }

    fn create(&mut self, fields: Map) {
        self.bodies(0).upsert_all([(self.entity, fields)]).unwrap();
        self.sync(0);
        for device in 1..self.replicas.len() {
            self.sync(device);
        }
        self.settled();
    }

    fn write(&mut self, device: usize, form: Form, edit: &Edit, random: &mut Random) {
        let fields = Map::from([(FIELD.to_owned(), form.render(&edit.after))]);
        if device < self.replicas.len() {
            self.bodies(device).set(self.entity, fields).unwrap();
            return;
        }
        let data = json_from_map(&fields, JsonStyle::Sql);
        self.bed.psql_script(&format!(
            "UPDATE headwater.entities SET data = data || $json${data}$json$ WHERE id = '{}';",
            self.entity
        ));
        if random.chance(30) {
            self.settled();
        }
    }

    fn meet(&mut self, random: &mut Random) {
        // What SQL wrote becomes changes before, after or while devices bring theirs.
        if random.chance(50) {
            self.settled();
        }
        let mut order: Vec<usize> = (0..self.replicas.len()).collect();
        random.shuffle(&mut order);
        for device in &order {
            self.sync(*device);
        }
        self.settled();
        for device in &order {
            self.sync(*device);
        }
        let failed = "SELECT failed FROM headwater.inbox WHERE failed IS NOT NULL LIMIT 1";
        assert_eq!(self.bed.psql(failed), "");
    }

    fn read(&mut self, device: usize) -> Value {
        if device < self.replicas.len() {
            return self.bodies(device).get(self.entity).unwrap().unwrap().fields[FIELD].clone();
        }
        let row = format!("SELECT data FROM headwater.entities WHERE id = '{}'", self.entity);
        match map_from_json_text(self.bed.psql(&row).as_bytes()).unwrap().remove(FIELD).unwrap() {
            Value::Str(text) if self.form == Form::Text => Value::Text(text.into()),
            value => value,
        }
    }
}

fn all_keep_their_intents(form: Form) {
    let mut devices = WithSql::new();
    cases(form, 3, usize::MAX).for_each(|case| devices.play(case));
}

/// Would double, lose or take back words where somebody with SQL wrote a text that a device had changed.
#[test]
fn what_is_meant_by_edits_of_a_text_is_what_becomes_of_it() {
    all_keep_their_intents(Form::Text);
}

/// Would lose what a device put into a list when SQL wrote the whole of it.
#[test]
fn what_is_meant_by_edits_of_a_list_of_strings_is_what_becomes_of_it() {
    all_keep_their_intents(Form::Strings);
}

/// Would mix two records into one that nobody wrote.
#[test]
fn what_is_meant_by_edits_of_a_list_of_records_is_what_becomes_of_it() {
    all_keep_their_intents(Form::Records);
}

/// Would fail, or lose what others wrote, where a value is as large as what apps really hold.
#[test]
fn a_long_text_and_a_long_list_keep_everything() {
    let mut devices = WithSql::new();
    large_cases().into_iter().for_each(|case| devices.play(case));
}
