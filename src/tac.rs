//! Which make and model a Type Allocation Code stands for: a table loaded at start.
//!
//! Real TAC data is licensed by the GSMA and brought by the operator as CSV with the header
//! `tac,manufacturer,model`. Names are kept once in one arena, so that 250,000 rows take a few
//! megabytes.

use std::fs::File;
use std::hash::BuildHasher as _;
use std::io::{self, BufRead as _, BufReader, Read, Seek as _};
use std::path::{Path, PathBuf};

use csv::ByteRecord;
use device::Tac;
// Its hash is several times as fast as the standard library's, which would be most of the start.
// The operator's own file needs no defence against keys that were chosen to collide.
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::bad_rows::BadRows;

/// The columns, in order.
const HEADER: [&str; 3] = ["tac", "manufacturer", "model"];

/// Make and model of a device type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceType<'a> {
    /// Who made it.
    pub manufacturer: Option<&'a str>,
    /// What it is called.
    pub model: Option<&'a str>,
}

/// Device types by TAC.
#[derive(Debug, Default)]
pub struct TacTable {
    rows: HashMap<Tac, Row>,
    names: Names,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    manufacturer: Name,
    model: Name,
}

/// Why a table cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[error("TAC table {}: {reason}", path.display())]
pub struct TacError {
    path: PathBuf,
    reason: String,
}

impl TacTable {
    /// Reads a file. Bad rows are named in the log and skipped; an unreadable file is an error.
    pub fn from_file(path: &Path) -> Result<Self, TacError> {
        let fault = |reason: String| TacError {
            path: path.to_owned(),
            reason,
        };
        let unreadable = |error: io::Error| fault(error.to_string());
        let mut file = File::open(path).map_err(unreadable)?;
        let lines = lines(&file).map_err(unreadable)?;
        file.rewind().map_err(unreadable)?;
        Self::read(file, lines).map_err(fault)
    }

    /// Reads CSV text of about so many `lines`: tables that have their size from the start leave
    /// nothing behind that they have grown out of.
    pub fn read(source: impl Read, lines: usize) -> Result<Self, String> {
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(source);
        let header = reader.byte_headers().map_err(|error| error.to_string())?;
        if !header.iter().eq(HEADER.iter().map(|name| name.as_bytes())) {
            return Err(format!("the first line must be {}", HEADER.join(",")));
        }
        let mut table = Self {
            rows: HashMap::with_capacity(lines),
            names: Names::default(),
        };
        let mut interned = Interned {
            hasher: DefaultHashBuilder::default(),
            names: HashTable::with_capacity(lines),
        };
        let mut bad_rows = BadRows::of("TAC");
        let mut record = ByteRecord::new();
        while reader
            .read_byte_record(&mut record)
            .map_err(|error| error.to_string())?
        {
            if let Err(reason) = table.add(&record, &mut interned) {
                bad_rows.name(record.position().map_or(0, csv::Position::line), reason);
            }
        }
        table.rows.shrink_to_fit();
        table.names.0.shrink_to_fit();
        bad_rows.report(table.rows.len());
        Ok(table)
    }

    fn add(&mut self, record: &ByteRecord, interned: &mut Interned) -> Result<(), &'static str> {
        let mut fields = record.iter().map(std::str::from_utf8);
        let (Some(Ok(tac)), Some(Ok(manufacturer)), Some(Ok(model)), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err("not three columns of UTF-8");
        };
        let tac = Tac::parse(tac.trim()).ok_or("the TAC is not 8 digits")?;
        if self.rows.contains_key(&tac) {
            return Err("the TAC stands in an earlier row");
        }
        let manufacturer = self.names.intern(manufacturer.trim(), interned)?;
        let model = self.names.intern(model.trim(), interned)?;
        self.rows.insert(
            tac,
            Row {
                manufacturer,
                model,
            },
        );
        Ok(())
    }

    /// The device type of a TAC, where the table knows it.
    pub fn get(&self, tac: Tac) -> Option<DeviceType<'_>> {
        let row = self.rows.get(&tac)?;
        Some(DeviceType {
            manufacturer: self.names.get(row.manufacturer),
            model: self.names.get(row.model),
        })
    }

    /// The number of device types.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether the table knows no device type.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// All names, one after the other.
#[derive(Debug, Default)]
struct Names(String);

/// Where a name stands.
#[derive(Debug, Clone, Copy)]
struct Name {
    start: u32,
    length: u16,
}

/// Finds names that stand there already; needed only while the table is read.
struct Interned {
    hasher: DefaultHashBuilder,
    names: HashTable<Name>,
}

/// The line feeds of a file.
#[expect(clippy::naive_bytecount, reason = "a few megabytes, once")]
fn lines(file: &File) -> io::Result<usize> {
    let mut file = BufReader::with_capacity(64 * 1024, file);
    let mut lines = 0;
    loop {
        let part = file.fill_buf()?;
        if part.is_empty() {
            return Ok(lines);
        }
        lines += part.iter().filter(|byte| **byte == b'\n').count();
        let length = part.len();
        file.consume(length);
    }
}

impl Names {
    fn intern(&mut self, text: &str, interned: &mut Interned) -> Result<Name, &'static str> {
        let Interned { hasher, names } = interned;
        let hash = hasher.hash_one(text);
        if let Some(name) = names.find(hash, |name| self.text(*name) == text) {
            return Ok(*name);
        }
        let start = u32::try_from(self.0.len()).map_err(|_| "the table is over 4 GiB")?;
        let length = u16::try_from(text.len()).map_err(|_| "a name is over 64 KiB")?;
        self.0.push_str(text);
        let name = Name { start, length };
        names.insert_unique(hash, name, |name| hasher.hash_one(self.text(*name)));
        Ok(name)
    }

    /// The text of a name; an empty one is no name.
    fn get(&self, name: Name) -> Option<&str> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    fn text(&self, name: Name) -> &str {
        let start = usize::try_from(name.start).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::from(name.length));
        self.0.get(start..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &str) -> TacTable {
        TacTable::read(format!("tac,manufacturer,model\n{rows}").as_bytes(), 0).unwrap()
    }

    fn get(table: &TacTable, tac: &str) -> Option<(String, String)> {
        let found = table.get(Tac::parse(tac).unwrap())?;
        let text = |name: Option<&str>| name.unwrap_or("-").to_owned();
        Some((text(found.manufacturer), text(found.model)))
    }

    #[test]
    fn a_tac_gives_make_and_model() {
        let table = table("49015420,Nokia,3110\n01234567,\"Acme, Inc.\",\"A \"\"B\"\"\"\n");
        assert_eq!(
            get(&table, "49015420"),
            Some(("Nokia".into(), "3110".into()))
        );
        assert_eq!(
            get(&table, "01234567"),
            Some(("Acme, Inc.".into(), "A \"B\"".into()))
        );
        assert_eq!(get(&table, "00000000"), None);
    }

    #[test]
    fn bad_rows_are_skipped_and_the_rest_is_kept() {
        let table = table(
            "4901542,Nokia,short\n49015420,Nokia,3110\n49015420,Other,again\nx,y\n\
             35693803,,Phone One\n35693804,Example,\n1,2,3,4\n",
        );
        assert_eq!(table.len(), 3);
        assert_eq!(
            get(&table, "49015420"),
            Some(("Nokia".into(), "3110".into()))
        );
        assert_eq!(
            get(&table, "35693803"),
            Some(("-".into(), "Phone One".into()))
        );
        assert_eq!(
            get(&table, "35693804"),
            Some(("Example".into(), "-".into()))
        );
    }

    #[test]
    fn a_file_that_is_no_table_is_refused() {
        assert!(TacTable::read("imei,make\n1,2\n".as_bytes(), 0).is_err());
        assert!(TacTable::from_file(Path::new("no/such/file.csv")).is_err());
    }
}
