//! Structured logs on standard error, as text for people or JSON for collectors.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{Log, LogFormat};

/// The parts whose levels can be set by name: our own. Libraries print frames and headers at their
/// debug levels, and with them identifiers of subscribers and tokens.
const OURS: [&str; 4] = ["pei_bridge", "adapters", "device", "simcore"];

/// What everything else may say at most, whatever the level.
const QUIET: &str = "warn";

/// Reads a level, or directives for our own parts; those for libraries do not count.
pub fn filter(level: &str) -> Result<EnvFilter, ParseError> {
    // Read whole first, so that a mistake is found wherever it stands.
    EnvFilter::builder().parse(level)?;
    let mut directives = vec![QUIET.to_owned()];
    for directive in level.split(',').map(str::trim) {
        match directive.split_once('=') {
            None => directives.extend(OURS.iter().map(|part| format!("{part}={directive}"))),
            Some((part, _))
                if OURS
                    .iter()
                    .any(|ours| part.split("::").next() == Some(ours)) =>
            {
                directives.push(directive.to_owned());
            }
            Some(_) => {}
        }
    }
    EnvFilter::builder().parse(directives.join(","))
}

/// Sends the logs of this process to standard error. Called once, at start.
pub fn install(log: &Log) -> Result<(), ParseError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(&log.level)?)
        .with_writer(std::io::stderr)
        .with_target(true);
    match log.format {
        LogFormat::Text => builder.with_ansi(false).compact().init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    install_panic_hook();
    Ok(())
}

/// A panic says where it happened and not what it held.
fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map_or_else(String::new, ToString::to_string);
        tracing::error!(place, "a bug: panicked");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_read_and_the_rest_refused() {
        for level in ["info", "trace", "info,adapters=debug", "off"] {
            assert!(filter(level).is_ok(), "{level}");
        }
        assert!(filter("pei_bridge=louder").is_err());
    }

    #[test]
    fn no_directive_makes_a_library_talk() {
        for level in [
            "trace",
            "trace,h2=trace",
            "h2::server=trace",
            "hyper[span]=debug,info",
        ] {
            let filter = filter(level).unwrap().to_string();
            for directive in filter.split(',') {
                let ours = OURS.iter().any(|part| directive.starts_with(part));
                assert!(ours || directive == QUIET, "{level}: {directive}");
            }
        }
    }
}
