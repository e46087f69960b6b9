//! L1, L2 and L4 beside SQLite: the same records in a replica and in a table, each in a file, without a network.
//!
//! SQLite keeps a record as JSON beside a column of the field that is asked for, in WAL mode, and waits for its disk at each edit
//! as a replica does. It keeps the newest values and nothing of how they came about; a replica keeps every change.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use headwater::EntityId;
use headwater_benches::prepared;
use headwater_benches::record::Bag;
use headwater_benches::table::{Samples, time};
use rusqlite::{Connection, params};

use crate::Result;
use crate::figures::Figures;
use crate::workloads::Sizes;

const ROUNDS: usize = 20;
/// Reads and edits of single records in a round.
const SINGLES: usize = 20;
const GOOD: f64 = 4.5;
const PAGE: usize = 20;

/// The same questions to everybody who keeps the records.
trait Keeper {
    /// All records, decoded. Returns how many there are.
    fn all(&self) -> Result<usize>;
    /// How many have a rating above [`GOOD`].
    fn good(&self) -> Result<usize>;
    /// A page of those.
    fn page(&self) -> Result<usize>;
    fn one(&self, number: usize) -> Result<Bag>;
    /// Durable when it returns.
    fn rate(&self, number: usize, rating: f64) -> Result<()>;
}

/// Takes all of them.
pub(crate) fn measure(sizes: &Sizes, directory: &Path, figures: &mut Figures) -> Result<()> {
    let records = sizes.documents.last().copied().unwrap_or(0);
    let replica = InReplica::fill(&directory.join("replica"), records);
    let bags: Vec<Bag> = replica.bags.list()?.into_iter().map(|(_, bag)| bag).collect();
    let plain = InSqlite::fill(&directory.join("plain.sqlite"), &bags, false)?;
    let indexed = InSqlite::fill(&directory.join("indexed.sqlite"), &bags, true)?;
    let keepers: [(&str, &dyn Keeper); 3] =
        [("headwater", &replica), ("sqlite", &plain), ("sqlite with an index", &indexed)];
    let found: Vec<_> = keepers.iter().map(|(_, keeper)| keeper.good()).collect::<Result<_>>()?;
    if found.iter().any(|good| *good != found[0] || *good == 0) {
        return Err(format!("they do not find the same: {found:?}").into());
    }
    let name = format!("local with {records}");
    let questions: [(&str, usize, Ask); 5] = [
        ("all, decoded, ms", 1, &|keeper, _| keeper.all().map(drop)),
        ("a filter on a field, counted, ms", 1, &|keeper, _| keeper.good().map(drop)),
        ("20 that a filter lets through, decoded, ms", 1, &|keeper, _| keeper.page().map(drop)),
        ("one by its id, decoded, ms", SINGLES, &|keeper, number| keeper.one(number).map(drop)),
        ("one field of one set, durable, ms", SINGLES, &|keeper, number| {
            keeper.rate(number, 1.0 + number as f64 / 1e3)
        }),
    ];
    for (what, times, ask) in questions {
        let mut samples = keepers.map(|_| Samples::default());
        for round in 0..ROUNDS {
            for ((_, keeper), samples) in keepers.iter().zip(&mut samples) {
                for single in 0..times {
                    // Far apart, and never the same value twice.
                    let number = (round * times + single) * 7_919 % records;
                    let (took, asked): (Duration, Result<()>) = time(|| black_box(ask(*keeper, number)));
                    asked?;
                    samples.push(took);
                }
            }
        }
        for ((system, _), samples) in keepers.iter().zip(samples) {
            figures.note(&name, what, system, samples.median().as_secs_f64() * 1e3);
        }
    }
    Ok(())
}

type Ask = &'static dyn Fn(&dyn Keeper, usize) -> Result<()>;

struct InReplica {
    bags: headwater::Collection<Bag>,
    ids: Vec<EntityId>,
}

impl InReplica {
    fn fill(path: &Path, records: usize) -> InReplica {
        let ids = prepared::fill_and_close(path, records);
        InReplica { bags: prepared::bags(&prepared::open(path, 2)), ids }
    }

    fn all_good(&self) -> impl Iterator<Item = Result<Bag>> {
        let bags = self.bags.iter().map(|bag| Ok(bag?.1));
        bags.filter(|bag: &Result<Bag>| bag.as_ref().map_or(true, |bag| bag.rating > GOOD))
    }
}

impl Keeper for InReplica {
    fn all(&self) -> Result<usize> {
        Ok(self.bags.list()?.len())
    }

    fn good(&self) -> Result<usize> {
        self.all_good().try_fold(0, |good, bag| bag.map(|_| good + 1))
    }

    fn page(&self) -> Result<usize> {
        Ok(self.all_good().take(PAGE).collect::<Result<Vec<_>>>()?.len())
    }

    fn one(&self, number: usize) -> Result<Bag> {
        Ok(self.bags.get(self.ids[number])?.ok_or("no such record")?)
    }

    fn rate(&self, number: usize, rating: f64) -> Result<()> {
        self.bags.update(self.ids[number], |bag| bag.rating = rating)?;
        Ok(())
    }
}

struct InSqlite(Connection);

impl InSqlite {
    fn fill(path: &Path, bags: &[Bag], indexed: bool) -> Result<InSqlite> {
        let mut sqlite = Connection::open(path)?;
        sqlite.pragma_update(None, "journal_mode", "wal")?;
        sqlite.pragma_update(None, "synchronous", "full")?;
        sqlite.execute_batch(
            "CREATE TABLE bags (id INTEGER PRIMARY KEY, rating REAL NOT NULL, record TEXT NOT NULL)",
        )?;
        if indexed {
            sqlite.execute_batch("CREATE INDEX bags_by_rating ON bags (rating)")?;
        }
        let filling = sqlite.transaction()?;
        for (number, bag) in bags.iter().enumerate() {
            let record = serde_json::to_string(bag)?;
            filling.execute("INSERT INTO bags VALUES (?1, ?2, ?3)", params![number, bag.rating, record])?;
        }
        filling.commit()?;
        Ok(InSqlite(sqlite))
    }

    fn records(&self, query: &str) -> Result<Vec<Bag>> {
        let mut query = self.0.prepare_cached(query)?;
        let mut rows = query.query([])?;
        let mut bags = Vec::new();
        while let Some(row) = rows.next()? {
            bags.push(serde_json::from_str(row.get_ref(0)?.as_str()?)?);
        }
        Ok(bags)
    }
}

impl Keeper for InSqlite {
    fn all(&self) -> Result<usize> {
        Ok(self.records("SELECT record FROM bags")?.len())
    }

    fn good(&self) -> Result<usize> {
        let mut query = self.0.prepare_cached("SELECT count(*) FROM bags WHERE rating > ?1")?;
        Ok(query.query_row([GOOD], |row| row.get(0))?)
    }

    fn page(&self) -> Result<usize> {
        Ok(self.records(&format!("SELECT record FROM bags WHERE rating > {GOOD} LIMIT {PAGE}"))?.len())
    }

    fn one(&self, number: usize) -> Result<Bag> {
        let mut query = self.0.prepare_cached("SELECT record FROM bags WHERE id = ?1")?;
        let record: String = query.query_row([number], |row| row.get(0))?;
        Ok(serde_json::from_str(&record)?)
    }

    fn rate(&self, number: usize, rating: f64) -> Result<()> {
        let mut edit = self.0.prepare_cached(
            "UPDATE bags SET rating = ?2, record = json_set(record, '$.rating', ?2) WHERE id = ?1",
        )?;
        edit.execute(params![number, rating])?;
        Ok(())
    }
}
