//! From a hash to slots: several of one key are possible, and wanted.
//!
//! Four bytes an entry, for the key stands in the slot. In many small tables, so that one that
//! grows, which it does while the whole is locked, holds nobody up.

use hashbrown::HashTable;

/// At ten million sessions a small table has ten thousand, and grows within a millisecond.
const TABLES: usize = 1024;
/// hashbrown takes the topmost seven bits for its tags and the lowest for the place.
const TABLE_SHIFT: u32 = 47;

pub(super) struct Index {
    tables: Box<[HashTable<u32>]>,
}

impl Index {
    pub(super) fn new() -> Self {
        Self {
            tables: (0..TABLES).map(|_| HashTable::new()).collect(),
        }
    }

    /// The slots of this hash; others may be among them.
    pub(super) fn candidates(&self, hash: u64) -> impl Iterator<Item = u32> {
        self.tables
            .get(table_of(hash))
            .into_iter()
            .flat_map(move |table| table.iter_hash(hash).copied())
    }

    /// Adds a slot; `rehash` tells the hash of any slot that is in.
    pub(super) fn insert(&mut self, hash: u64, slot: u32, rehash: impl Fn(u32) -> u64) {
        if let Some(table) = self.tables.get_mut(table_of(hash)) {
            table.insert_unique(hash, slot, |&slot| rehash(slot));
        }
    }

    pub(super) fn remove(&mut self, hash: u64, slot: u32) {
        if let Some(table) = self.tables.get_mut(table_of(hash))
            && let Ok(entry) = table.find_entry(hash, |&found| found == slot)
        {
            entry.remove();
        }
    }
}

fn table_of(hash: u64) -> usize {
    usize::try_from(hash >> TABLE_SHIFT).unwrap_or(0) % TABLES
}
