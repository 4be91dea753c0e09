//! The operator's own table of which SUPI is behind which GPSI, for cores that tell neither:
//! CSV with the header `gpsi,supi`, both as TS 29.571 writes them, read again when it changes.
//!
//! Rows that cannot be used are named by their line and skipped. A file that cannot be used
//! changes nothing: the last good one serves on.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adapters::sbi::{Fact, Steps};
use arc_swap::ArcSwap;
use csv::ByteRecord;
use device::{Gpsi, Supi};
use hashbrown::HashMap;
use tokio_util::task::AbortOnDropHandle;

use crate::bad_rows::BadRows;

/// Between two looks at the file.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Some hundred megabytes in memory: more subscribers than this belong into a UDM.
const MOST_ROWS: usize = 2_000_000;
/// The columns, in order.
const HEADER: [&str; 2] = ["gpsi", "supi"];

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("core.gpsi_to_supi_file {}: {reason}", path.display())]
pub struct ProvisionedError {
    path: PathBuf,
    reason: String,
}

/// SUPIs by GPSI, as the file has them now.
#[derive(Debug)]
pub struct Provisioned {
    table: Arc<ArcSwap<Table>>,
    /// Tells what was found to whoever wants to see it.
    steps: Option<Steps>,
    _following: AbortOnDropHandle<()>,
}

type Table = HashMap<Gpsi, Supi>;

/// What a file looks like from outside; another look is another content.
type Look = Option<(SystemTime, u64)>;

impl Provisioned {
    /// Reads the file, and follows it from now on. Must be called within a Tokio runtime.
    pub fn open(path: &Path, steps: Option<Steps>) -> Result<Self, ProvisionedError> {
        let seen = look(path);
        let table = load(path).map_err(|reason| ProvisionedError {
            path: path.to_owned(),
            reason,
        })?;
        let table = Arc::new(ArcSwap::from_pointee(table));
        let following = tokio::spawn(follow(path.to_owned(), seen, Arc::clone(&table)));
        Ok(Self {
            table,
            steps,
            _following: AbortOnDropHandle::new(following),
        })
    }

    /// The SUPI of a GPSI, where the file names it.
    pub fn supi(&self, gpsi: &Gpsi) -> Option<Supi> {
        let supi = self.table.load().get(gpsi).cloned();
        if let Some(steps) = &self.steps {
            let asked = Fact::personal("gpsi", gpsi.reveal());
            let found = supi
                .as_ref()
                .map(|supi| Fact::personal("supi", supi.reveal()));
            let found = found.unwrap_or(Fact::plain("supi", "not in the file"));
            steps.note("core.gpsi_to_supi_file", vec![asked, found]);
        }
        supi
    }
}

/// Looks at the file for ever.
async fn follow(path: PathBuf, mut seen: Look, table: Arc<ArcSwap<Table>>) {
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let file = path.clone();
        // It may be large, and lie on something slow.
        let looked = tokio::task::spawn_blocking(move || {
            let now = look(&file);
            (now != seen).then(|| (now, load(&file)))
        });
        let Ok(Some((now, loaded))) = looked.await else {
            continue;
        };
        // Each change is told once, whatever it is.
        seen = now;
        match loaded {
            Ok(loaded) => {
                tracing::info!(rows = loaded.len(), "core.gpsi_to_supi_file was read again");
                table.store(Arc::new(loaded));
            }
            Err(reason) => {
                tracing::error!(
                    reason,
                    "core.gpsi_to_supi_file cannot be used as it is now, the last good one serves on"
                );
            }
        }
    }
}

fn look(path: &Path) -> Look {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn load(path: &Path) -> Result<Table, String> {
    read(File::open(path).map_err(|error: io::Error| error.to_string())?)
}

fn read(source: impl Read) -> Result<Table, String> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(source);
    let header = reader.byte_headers().map_err(|error| error.to_string())?;
    if !header.iter().eq(HEADER.iter().map(|name| name.as_bytes())) {
        return Err(format!("the first line must be {}", HEADER.join(",")));
    }
    let mut table = Table::default();
    let mut bad_rows = BadRows::of("GPSI to SUPI");
    let mut record = ByteRecord::new();
    while reader
        .read_byte_record(&mut record)
        .map_err(|error| error.to_string())?
    {
        if table.len() >= MOST_ROWS {
            return Err(format!("more than {MOST_ROWS} rows"));
        }
        if let Err(reason) = add(&mut table, &record) {
            bad_rows.name(record.position().map_or(0, csv::Position::line), reason);
        }
    }
    bad_rows.report(table.len());
    Ok(table)
}

fn add(table: &mut Table, record: &ByteRecord) -> Result<(), &'static str> {
    let mut fields = record.iter().map(std::str::from_utf8);
    let (Some(Ok(gpsi)), Some(Ok(supi)), None) = (fields.next(), fields.next(), fields.next())
    else {
        return Err("not two columns of UTF-8");
    };
    let gpsi = Gpsi::parse(gpsi.trim()).map_err(|_| "the first column is no GPSI")?;
    let supi = Supi::parse(supi.trim()).map_err(|_| "the second column is no SUPI")?;
    if table.contains_key(&gpsi) {
        return Err("the GPSI stands in an earlier row");
    }
    table.insert(gpsi, supi);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_rows_are_read_and_bad_ones_skipped() {
        let text = "gpsi,supi\nmsisdn-34600000002,imsi-001010000000002\n\
                    34600000003,imsi-001010000000003\nmsisdn-34600000004,001010000000004\n\
                    msisdn-34600000002,imsi-001010000000009\nx\n\
                    extid-a@b.example , nai-c@d.example\nmsisdn-34600000005,imsi-00101,x\n";
        let table = read(text.as_bytes()).unwrap();
        let supi = |gpsi| {
            let supi = table.get(&Gpsi::parse(gpsi).unwrap());
            supi.map(|supi| supi.reveal().to_string())
        };
        assert_eq!(table.len(), 2);
        assert_eq!(
            supi("msisdn-34600000002").as_deref(),
            Some("imsi-001010000000002")
        );
        assert_eq!(
            supi("extid-a@b.example").as_deref(),
            Some("nai-c@d.example")
        );
        assert_eq!(supi("msisdn-34600000003"), None);
    }

    #[test]
    fn a_file_that_is_no_table_is_refused() {
        assert!(read("msisdn,imsi\n1,2\n".as_bytes()).is_err());
        assert!(load(Path::new("no/such/file.csv")).is_err());
    }
}
