//! What the engineer is told: the question, each step, and the answer or what failed.

use std::fmt::Write as _;
use std::time::Duration;

use adapters::sbi::{Attempt, Call, Error, Fact, Found, NfType, Shown, Step};
use device::{Ipv4Query, MASK, UeId};

use crate::config::{Config, ConsentMode, GpsiToSupi};
use crate::lookup::{Answer, DeviceQuery, LookupError};
use crate::tac::TacTable;

/// What came of a lookup.
pub(super) struct Outcome<'a> {
    /// What became of each step.
    pub(super) steps: &'a [Step],
    /// Whose device it is, as far as that was found.
    pub(super) subscription: Option<&'a UeId>,
    /// The device, or why there is none.
    pub(super) answer: Result<Answer, LookupError>,
}

/// What is printed.
pub(super) struct Report {
    reveal: bool,
    text: String,
}

impl Report {
    /// Prints identifiers in full where `reveal` says so.
    pub(super) fn new(reveal: bool) -> Self {
        Self {
            reveal,
            text: String::new(),
        }
    }

    /// All that came of a lookup.
    pub(super) fn of(
        mut self,
        config: &Config,
        query: &DeviceQuery,
        outcome: &Outcome<'_>,
        tac_table: &TacTable,
    ) -> String {
        let Outcome {
            steps,
            subscription,
            answer,
        } = *outcome;
        self.question(config, query);
        for (number, step) in (1..).zip(steps) {
            self.step(number, step);
        }
        if let Some(subscription) = subscription {
            let whole = subscription.reveal().to_string();
            let kind = whole.split('-').next().unwrap_or_default();
            let shown = if self.reveal {
                whole.clone()
            } else {
                format!("{kind}-{MASK}")
            };
            let _ = writeln!(self.text);
            self.line("subscription", &shown);
        }
        match answer {
            Ok(answer) => self.answer(&answer, tac_table),
            Err(error) => self.failure(error, steps),
        }
        self.text
    }

    fn line(&mut self, name: &str, value: &str) {
        // A `String` takes everything.
        let _ = writeln!(self.text, "{name:<13} {value}");
    }

    fn question(&mut self, config: &Config, query: &DeviceQuery) {
        let by_gpsi = [
            query
                .phone_number
                .map(|number| ("phoneNumber", number.reveal().to_string())),
            query
                .network_access_identifier
                .as_ref()
                .map(|nai| ("networkAccessIdentifier", nai.reveal().to_owned())),
        ];
        let by_address = [
            query
                .ipv6_address
                .map(|address| ("ipv6Address", address.to_string())),
            query.ipv4_address.map(|query| {
                let port = match query {
                    Ipv4Query::Port { port, .. } => format!(" port {port}"),
                    Ipv4Query::Private { .. } => String::new(),
                };
                let private = query.private();
                let private =
                    private.map_or(String::new(), |private| format!(" private {private}"));
                ("ipv4Address", format!("{}{port}{private}", query.public()))
            }),
        ];
        let is_gpsi = by_gpsi.iter().any(Option::is_some);
        for (name, value) in by_gpsi.into_iter().chain(by_address).flatten() {
            let value = if self.reveal { value } else { MASK.to_owned() };
            self.line("question", &format!("{name} {value}"));
        }
        if is_gpsi {
            let way = config.core.gpsi_to_supi;
            let what = match way {
                GpsiToSupi::Direct => "the UDM is asked by GPSI",
                GpsiToSupi::Translation => "the UDM translates it first",
                GpsiToSupi::File => "the operator's table says it",
            };
            self.line(
                "GPSI to SUPI",
                &format!("{} (core.gpsi_to_supi): {what}", way.as_str()),
            );
        }
        if config.consent.mode == ConsentMode::None {
            self.line("consent", "not asked for");
        }
    }

    fn step(&mut self, number: usize, step: &Step) {
        let _ = writeln!(self.text);
        match step {
            Step::Call(call) => self.call(number, call),
            Step::Note { source, facts } => {
                let _ = writeln!(self.text, "{number}. {source}");
                self.facts(facts);
            }
        }
    }

    fn call(&mut self, number: usize, call: &Call) {
        let _ = writeln!(self.text, "{number}. {} {}", call.nf, call.operation);
        let path = self.shown(&call.path);
        let _ = writeln!(self.text, "   {} {path}", call.method);
        if call.attempts.is_empty() {
            let missing = if call.lacked_token {
                "access token"
            } else {
                "instance"
            };
            let _ = writeln!(self.text, "   sent to nobody: no {missing} was there");
        }
        for attempt in &call.attempts {
            self.attempt(attempt);
        }
        let took = milliseconds(call.took);
        match &call.outcome {
            Ok(facts) => {
                let _ = writeln!(self.text, "   took {took}");
                self.facts(facts);
            }
            Err(error) => {
                let _ = writeln!(self.text, "   took {took}, failed: {error}");
            }
        }
        if let Some(cause) = &call.cause {
            let _ = writeln!(self.text, "   cause {cause}");
        }
    }

    fn attempt(&mut self, attempt: &Attempt) {
        let found = match attempt.found {
            Found::Configured => "configured",
            Found::Discovered => "discovered at the NRF",
            Found::ChosenByProxy => "chosen by the SCP",
        };
        let Attempt { root, via, .. } = attempt;
        let _ = match attempt.nf_instance_id {
            Some(id) => write!(self.text, "   to {root} (nfInstanceId {id}, {found})"),
            None => write!(self.text, "   to {root} ({found})"),
        };
        if let Some(via) = via {
            let _ = write!(self.text, " through the SCP {via}");
        }
        let _ = match attempt.status {
            Some(status) => writeln!(self.text, ": {status}"),
            None => writeln!(self.text, ": no answer"),
        };
    }

    fn facts(&mut self, facts: &[Fact]) {
        for fact in facts {
            let value = self.shown(&fact.value);
            let _ = writeln!(self.text, "   read {} {value}", fact.name);
        }
    }

    /// What the core said, without what a terminal would obey.
    fn shown(&self, shown: &Shown) -> String {
        let text = if self.reveal {
            shown.reveal().to_owned()
        } else {
            shown.to_string()
        };
        text.replace(char::is_control, "\u{fffd}")
    }

    fn answer(&mut self, answer: &Answer, tac_table: &TacTable) {
        let _ = writeln!(self.text);
        let seen = |whole: String, reveal: bool| if reveal { whole } else { MASK.to_owned() };
        let imei = seen(answer.imei.reveal().to_string(), self.reveal);
        self.line("imei", &imei);
        if let Some(imeisv) = answer.imeisv {
            let imeisv = seen(imeisv.reveal().to_string(), self.reveal);
            self.line("imeisv", &imeisv);
        }
        let tac = answer.imei.tac();
        self.line("tac", &seen(tac.to_string(), self.reveal));
        if let Some(device_type) = tac_table.get(tac) {
            self.line(
                "manufacturer",
                device_type.manufacturer.unwrap_or("unknown"),
            );
            self.line("model", device_type.model.unwrap_or("unknown"));
        }
        if let Ok(time) = jiff::Timestamp::from_millisecond(answer.last_checked) {
            self.line("lastChecked", &format!("{time:.3}"));
        }
    }

    /// With the step that it is owed to.
    fn failure(&mut self, error: LookupError, steps: &[Step]) {
        let _ = writeln!(self.text);
        let place = decisive(error, steps);
        let named = place.and_then(|place| Some((place, steps.get(place)?)));
        let at = match named {
            Some((place, Step::Call(call))) => {
                format!("at step {}, {} {}: ", place + 1, call.nf, call.operation)
            }
            Some((place, Step::Note { source, .. })) => {
                format!("at step {}, {source}: ", place + 1)
            }
            None => String::new(),
        };
        self.line("failed", &format!("{at}{error}"));
        if let Some(hint) = hint(error) {
            self.line("", hint);
        }
    }
}

/// Which step an error is owed to: one that failed with it, or else the last one that said
/// something. The NRF is also asked beside the lookup, so that its steps come after all others.
fn decisive(error: LookupError, steps: &[Step]) -> Option<usize> {
    let of_nrf = |step: &Step| matches!(step, Step::Call(call) if call.nf == NfType::Nrf.name());
    let said = |step: &Step| !of_nrf(step) && failure_of(step).is_none();
    let (LookupError::Core(error) | LookupError::ConsentUnknown(error)) = error else {
        return steps.iter().rposition(said);
    };
    let with_it = |step: &Step| failure_of(step) == Some(error);
    let own = steps
        .iter()
        .rposition(|step| !of_nrf(step) && with_it(step));
    let lacked_token =
        |place: &usize| matches!(steps.get(*place), Some(Step::Call(call)) if call.lacked_token);
    let token = || {
        let of_token =
            |step: &Step| matches!(step, Step::Call(call) if call.operation == ACCESS_TOKEN);
        let failed = |step: &Step| of_token(step) && failure_of(step).is_some();
        steps.iter().rposition(failed)
    };
    let token = own.filter(lacked_token).and_then(|_| token());
    token
        .or(own)
        .or_else(|| steps.iter().rposition(with_it))
        .or_else(|| steps.iter().rposition(said))
}

/// The operation that gives tokens.
const ACCESS_TOKEN: &str = "AccessTokenRequest";

fn failure_of(step: &Step) -> Option<Error> {
    match step {
        Step::Call(call) => call.outcome.as_ref().err().copied(),
        Step::Note { .. } => None,
    }
}

/// What to look at.
fn hint(error: LookupError) -> Option<&'static str> {
    match error {
        LookupError::Core(Error::Refused { .. }) => {
            Some("the core understands something else than what the configuration makes us ask")
        }
        LookupError::Core(Error::Unreachable) => {
            Some("is the apiRoot right, is an instance registered, may our NF type see it?")
        }
        LookupError::UnknownSubscription => {
            Some("another core.gpsi_to_supi may know it, or another function for addresses")
        }
        LookupError::Unsupported => Some("api.supported_identifiers leaves it out"),
        LookupError::ConsentMissing => Some("the subscriber's uc-data hold no CONSENT_GIVEN"),
        LookupError::Mismatch
        | LookupError::NotOfToken
        | LookupError::ConsentUnknown(_)
        | LookupError::NoDevice
        | LookupError::NoImei
        | LookupError::Core(_) => None,
    }
}

fn milliseconds(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_core_says_moves_no_cursor() {
        let domain = Fact::plain("ipDomain", "nat\u{1b}[2J\n1. UDM").value;
        let pei = Fact::personal("pei", "mac-\r\u{9b}A").value;
        for (reveal, expected) in [(false, "mac-***"), (true, "mac-\u{fffd}\u{fffd}A")] {
            let report = Report::new(reveal);
            assert_eq!(report.shown(&domain), "nat\u{fffd}[2J\u{fffd}1. UDM");
            assert_eq!(report.shown(&pei), expected);
        }
    }
}
