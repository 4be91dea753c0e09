//! From file and environment to one [`Config`], with the place of every mistake.
//!
//! Layers, later ones over earlier ones: our defaults, a base (the demo's own settings), the file,
//! the environment (`PEI_BRIDGE__API__LISTEN`). The file is read on its own first, so that a
//! mistake in it is named with its line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::Config;

/// What begins the name of a variable that is ours; `__` parts sections and keys.
const ENV_PREFIX: &str = "PEI_BRIDGE__";

/// Why a configuration is refused. Never repeats a value: it may be a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML, or says something that no key can mean.
    #[error("{}, line {line}: {key}{reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The key and a colon, where it is known.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A variable of the environment names no key or has no value for it.
    #[error("environment variable {variable}: {reason}")]
    Environment {
        /// Its name.
        variable: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Keys that are fine by themselves but not together, outside of a file.
    #[error("{key}: {reason}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a configuration is made of.
#[derive(Debug, Default)]
pub struct Layers {
    /// Settings below the file, such as the demo's own.
    pub base: Config,
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// The process environment, or a test's.
    pub environment: BTreeMap<String, String>,
}

impl Layers {
    /// Defaults, a file, and the variables of this process.
    pub fn from_file(file: &Path) -> Self {
        Self::over(Config::default(), Some(file.to_owned()))
    }

    /// Settings of our own, a file over them, and the variables of this process.
    pub fn over(base: Config, file: Option<PathBuf>) -> Self {
        Self {
            base,
            file,
            environment: process_environment(),
        }
    }

    /// Lays the layers over each other and validates the whole.
    pub fn load(self) -> Result<Config, ConfigError> {
        let mut table = to_table(&self.base)?;
        let text = self.file.as_deref().map(read).transpose()?;
        let source = self.file.as_deref().zip(text.as_deref());
        if let Some((path, text)) = source {
            merge(&mut table, parse_file(path, text)?);
        }
        for (variable, value) in &self.environment {
            apply_variable(&mut table, variable, value)?;
        }
        let config = Config::deserialize(table).map_err(|error| ConfigError::Invalid {
            key: "config",
            reason: brief(&error),
        })?;
        config.validate().map_err(|error| at_line(error, source))?;
        Ok(config)
    }
}

/// The variables of this process that are ours.
fn process_environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with(ENV_PREFIX))
        .collect()
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

fn to_table(config: &Config) -> Result<Table, ConfigError> {
    Table::try_from(config).map_err(|error| ConfigError::Invalid {
        key: "config",
        reason: error.to_string(),
    })
}

/// Checks the file against the schema, each mistake with key and line, and gives its table.
fn parse_file(path: &Path, text: &str) -> Result<Table, ConfigError> {
    let fault = |error: &toml::de::Error, key: String| ConfigError::File {
        path: path.to_owned(),
        line: line_of(text, error.span().map_or(0, |span| span.start)),
        key,
        reason: brief(error),
    };
    let deserializer =
        toml::Deserializer::parse(text).map_err(|error| fault(&error, String::new()))?;
    serde_path_to_error::deserialize::<_, Config>(deserializer).map_err(|error| {
        let key = match error.path().to_string() {
            path if path == "." => String::new(),
            path => format!("{path}: "),
        };
        fault(error.inner(), key)
    })?;
    text.parse().map_err(|error| fault(&error, String::new()))
}

/// The message without the excerpt of the file and without the value, which may be a secret.
fn brief(error: &toml::de::Error) -> String {
    let message = error.message().trim_end();
    let tells_value = ["invalid type: ", "invalid value: ", "unknown variant "]
        .iter()
        .any(|start| message.starts_with(start));
    let value = message.find(['"', '`']).filter(|_| tells_value);
    // The value may hold anything, our own words too: what is expected stands last.
    let expected = message.rfind(", expected ");
    match value.zip(expected) {
        Some((value, expected)) if value < expected => {
            let (before, after) = (message.get(..value), message.get(expected..));
            before.unwrap_or_default().trim_end().to_owned() + after.unwrap_or_default()
        }
        _ => message.to_owned(),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1
}

/// Lays `upper` over `lower`: tables are merged, everything else is replaced.
fn merge(lower: &mut Table, upper: Table) {
    for (key, value) in upper {
        match (lower.get_mut(&key), value) {
            (Some(Value::Table(lower)), Value::Table(upper)) => merge(lower, upper),
            (_, value) => {
                lower.insert(key, value);
            }
        }
    }
}

/// Sets the key that a variable names. Its text is a TOML value, or else a plain string.
fn apply_variable(table: &mut Table, variable: &str, text: &str) -> Result<(), ConfigError> {
    let Some(path) = variable.strip_prefix(ENV_PREFIX) else {
        return Ok(());
    };
    let value = format!("value = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()));
    let keys: Vec<String> = path.split("__").map(str::to_lowercase).collect();
    let mut overlay = value;
    for key in keys.iter().rev() {
        overlay = Value::Table(Table::from_iter([(key.clone(), overlay)]));
    }
    if let Value::Table(overlay) = overlay {
        merge(table, overlay);
    }
    serde_path_to_error::deserialize::<_, Config>(table.clone())
        .map(drop)
        .map_err(|error| ConfigError::Environment {
            variable: variable.to_owned(),
            reason: brief(error.inner()),
        })
}

/// Adds file and line to a mistake that only the whole shows, where the file sets the key.
fn at_line(error: ConfigError, source: Option<(&Path, &str)>) -> ConfigError {
    let (ConfigError::Invalid { key, reason }, Some((path, text))) = (&error, source) else {
        return error;
    };
    let Ok(root) = DeTable::parse(text) else {
        return error;
    };
    let mut keys = key.split('.').peekable();
    let mut table = root.get_ref();
    while let Some(part) = keys.next() {
        let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref() == part) else {
            return error;
        };
        match value.get_ref() {
            DeValue::Table(inner) if keys.peek().is_some() => table = inner,
            _ => {
                return ConfigError::File {
                    path: path.to_owned(),
                    line: line_of(text, name.span().start),
                    key: format!("{key}: "),
                    reason: reason.clone(),
                };
            }
        }
    }
    error
}
