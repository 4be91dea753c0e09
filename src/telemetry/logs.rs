//! Structured logs on standard error, as text for people or JSON for collectors.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{Log, LogFormat};

/// What the libraries below us may say at most: at their debug levels they print frames and
/// headers, and with them identifiers of subscribers.
const QUIET_LIBRARIES: [&str; 5] = [
    "h2=warn",
    "hyper=warn",
    "hyper_util=warn",
    "rustls=warn",
    "tokio_util=warn",
];

/// Reads a level or directives, and keeps the libraries quiet whatever they say.
pub fn filter(level: &str) -> Result<EnvFilter, ParseError> {
    let ours = EnvFilter::builder().parse(level)?;
    QUIET_LIBRARIES.iter().try_fold(ours, |filter, directive| {
        Ok(filter.add_directive(directive.parse()?))
    })
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
        let filter = filter("trace,h2=trace,hyper=debug").unwrap().to_string();
        assert!(
            filter.contains("h2=warn") && filter.contains("hyper=warn"),
            "{filter}"
        );
    }
}
