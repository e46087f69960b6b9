//! The verbs that only look at entities: `get`, `ls`.

use crate::args::{Entity, Ls, Options};
use crate::edit::why_missing;
use crate::failure::Failure;
use crate::open::Missing;
use crate::output::Output;

pub(crate) fn get(options: &Options, entity: &Entity, output: &mut Output) -> Result<(), Failure> {
    let entities = options.open_collection(Missing::Refuse, &entity.collection)?;
    match entities.get(entity.id)? {
        Some(record) => output.entity(&record),
        None => Err(why_missing(&entities, entity.id, Failure::NotFound(entity.id))),
    }
}

pub(crate) fn list(options: &Options, ls: &Ls, output: &mut Output) -> Result<(), Failure> {
    let entities = options.open_existing_collection(&ls.collection)?;
    for record in entities.iter() {
        output.list_item(&record?)?;
    }
    Ok(())
}
