//! The time from the start of the process to `/readyz` 200 with a full table of device types, and
//! the memory of that table.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use crate::bridge::{Access, Bridge, Core, Settings};
use crate::report::{Report, Row, Target};
use crate::stats::Spread;
use crate::workplace::Workplace;
use crate::{Effort, Result};

/// As large as the table of a GSMA licensee.
const DEVICE_TYPES: u32 = 250_000;
/// Milliseconds.
const READY_TARGET: Target = Target::AtMost(200.0);
/// Megabytes.
const MEMORY_TARGET: Target = Target::AtMost(40.0);

pub(crate) fn measure(workplace: &Workplace, effort: Effort, report: &mut Report) -> Result<()> {
    let core = Core::start(workplace, 0)?;
    let file = workplace.write("tac.csv", &device_types()?)?;
    let (mut times, mut sizes) = (Vec::new(), Vec::new());
    for _ in 0..effort.starts {
        let (time, with) = start(workplace, &core, Some(&file))?;
        let (_, without) = start(workplace, &core, None)?;
        times.push(time * 1e3);
        sizes.push((with - without) / 1e6);
    }
    let mut tell = |what: &str, values: Vec<f64>, target| {
        let spread = Spread::of(values);
        report.add(Row {
            what: format!("{DEVICE_TYPES} TACs: {what}"),
            ours: spread,
            theirs: None,
            digits: 1,
            measured: spread,
            target,
        });
    };
    tell("start to ready, ms", times, READY_TARGET);
    tell("memory, MB", sizes, MEMORY_TARGET);
    Ok(())
}

/// Seconds to ready, and the bytes resident then.
fn start(workplace: &Workplace, core: &Core, file: Option<&Path>) -> Result<(f64, f64)> {
    let settings = Settings {
        access: Access::Tokens,
        lifetime: "1min",
        entries: 1000,
        device_types: file,
    };
    let started = Instant::now();
    let bridge = Bridge::start(workplace, core, settings)?;
    let time = started.elapsed().as_secs_f64();
    Ok((time, as_f64(bridge.process.resident()?)))
}

/// Invented makes and models; no two models are the same, which is the most that a table can hold.
fn device_types() -> Result<String> {
    let mut text = String::from("tac,manufacturer,model\n");
    for number in 0..DEVICE_TYPES {
        let (maker, tac) = (number % 4000, 35_000_000 + number);
        writeln!(text, "{tac},Invented Maker {maker},Model X{number} Pro")?;
    }
    Ok(text)
}

/// Sizes here are far below the 2^53 that a float holds exactly.
#[expect(clippy::cast_precision_loss, reason = "see above")]
pub(crate) fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_tac_of_its_own() {
        let text = device_types().unwrap();
        let tacs: std::collections::HashSet<&str> = text
            .lines()
            .skip(1)
            .map(|line| line.split(',').next().unwrap())
            .collect();
        assert_eq!(tacs.len(), 250_000);
        assert!(tacs.iter().all(|tac| tac.len() == 8));
    }
}
