//! What machine this is, and what was run on it.

use std::env;
use std::fs;

use crate::Result;

/// A few lines to print above the figures.
pub(crate) fn facts() -> Result<String> {
    let command: Vec<String> = env::args().skip(1).collect();
    let processor = fs::read_to_string("/proc/cpuinfo")?;
    let load = fs::read_to_string("/proc/loadavg")?;
    Ok(format!(
        "command    tests/bench/run {}\nprocessor  {}, {} cores\nkernel     Linux {}\n\
         load       {} before the run",
        command.join(" "),
        model(&processor).unwrap_or("unknown"),
        std::thread::available_parallelism()?,
        fs::read_to_string("/proc/sys/kernel/osrelease")?.trim(),
        load.split(' ').next().unwrap_or("unknown"),
    ))
}

fn model(processor: &str) -> Option<&str> {
    processor.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == "model name").then_some(value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_found() {
        assert_eq!(model("processor\t: 0\nmodel name\t: A 1\n"), Some("A 1"));
        assert_eq!(model("processor\t: 0\n"), None);
    }
}
