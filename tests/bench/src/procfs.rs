//! What the kernel says of a process (proc(5)).

use std::fs;
use std::time::Duration;

use crate::Result;

/// `USER_HZ`: the unit of processor times in `/proc`, the same on every Linux of today.
const TICKS_PER_SECOND: u64 = 100;

/// The processor time that a process has used so far, in user and kernel mode.
pub(crate) fn processor_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let ticks = ticks(&fs::read_to_string(&path)?).ok_or(format!("{path} is not understood"))?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// The memory that a process holds resident, in bytes. `pid` may be `self`.
pub(crate) fn resident(pid: impl std::fmt::Display) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path)?;
    resident_in(&status).ok_or(format!("{path} is not understood").into())
}

/// The fields utime and stime, the 14th and 15th. The second one, the name, may hold anything, so
/// counting begins behind its parenthesis.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn resident_in(status: &str) -> Option<u64> {
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "42 (a) (b c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 4 0";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("42 (a) S 1 2"), None);
        assert_eq!(ticks(""), None);
    }

    #[test]
    fn resident_memory_is_found() {
        assert_eq!(
            resident_in("Name:\tx\nVmRSS:\t    1234 kB\n"),
            Some(1234 * 1024)
        );
        assert_eq!(resident_in("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_is_understood() {
        assert!(resident("self").unwrap() > 0);
        assert!(processor_time(std::process::id()).is_ok());
    }
}
