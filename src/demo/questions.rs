//! What the demo asks, and the answers it expects: the figures of the named subscribers.

use http::StatusCode;

use crate::api::{Operation, Version};
use crate::config::Config;

/// One question with its answer.
pub(super) struct Question {
    /// What it shows.
    pub(super) about: &'static str,
    pub(super) version: &'static str,
    pub(super) operation: &'static str,
    pub(super) body: &'static str,
    pub(super) credentials: Credentials,
    pub(super) status: StatusCode,
    /// Members that the answer has with these values; `null`: a member that it does not have,
    /// `{"hexDigits": N}`: so many hexadecimal digits.
    pub(super) expected: &'static str,
}

/// The token that a question is asked with.
#[derive(Clone, Copy)]
pub(super) enum Credentials {
    Good,
    /// Names the device of the first subscriber.
    OfFirst,
    Expired,
    None,
}

/// The answer for the first subscriber.
const FIRST: &str = r#"{"lastChecked":"2024-02-20T10:41:38.657Z","imeisv":"4901542032375180","imei":"490154203237518","tac":"49015420","model":"3110","manufacturer":"Nokia"}"#;

/// The type of the second subscriber's device.
const SECOND_TYPE: &str = r#"{"lastChecked":"2026-01-15T08:00:02.000Z","imei":null,"tac":"35693803","model":"Phone One","manufacturer":"Example Devices"}"#;

/// A name for the device of the first subscriber; which one, the secret of this run says.
const FIRST_PPID: &str =
    r#"{"lastChecked":"2024-02-20T10:41:38.657Z","imei":null,"tac":null,"ppid":{"hexDigits":64}}"#;

/// Every version and operation, every kind of identifier, and what is not there.
const QUESTIONS: &[Question] = &[
    Question {
        about: "by phone number",
        version: "v0.1.0",
        operation: "retrieve-identifier",
        body: r#"{"phoneNumber": "123456789"}"#,
        credentials: Credentials::Good,
        status: StatusCode::OK,
        expected: FIRST,
    },
    Question {
        about: "by network access identifier",
        version: "v0.1.0",
        operation: "retrieve-identifier",
        body: r#"{"networkAccessIdentifier": "123456789@domain.com"}"#,
        credentials: Credentials::Good,
        status: StatusCode::OK,
        expected: FIRST,
    },
    Question {
        about: "by IPv4 address and port, through the NAT",
        version: "v0.1.0",
        operation: "retrieve-identifier",
        body: r#"{"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59765}}"#,
        credentials: Credentials::Good,
        status: StatusCode::OK,
        expected: FIRST,
    },
    Question {
        about: "by IPv6 address",
        version: "v0.1.0",
        operation: "retrieve-identifier",
        body: r#"{"ipv6Address": "2001:db8:85a3:8d3:1319:8a2e:370:7344"}"#,
        credentials: Credentials::Good,
        status: StatusCode::OK,
        expected: FIRST,
    },
    Question {
        about: "the type alone",
        version: "v0.1.0",
        operation: "retrieve-type",
        body: r#"{"phoneNumber": "123456789"}"#,
        credentials: Credentials::Good,
        status: StatusCode::OK,
        expected: r#"{"lastChecked":"2024-02-20T10:41:38.657Z","imei":null,"tac":"49015420","model":"3110","manufacturer":"Nokia"}"#,
    },
    Question {
        about: "a device whose IMEISV the core does not know",
        version: "v0.1.0",
        operation: "retrieve-identifier",
        body: r#"{"phoneNumber": "+34600000002"}"#,
        credentials: Credentials::Good,
        status: StatusCode::OK,
        expected: r#"{"lastChecked":"2026-01-15T08:00:02.000Z","imeisv":null,"imei":"356938035643809","tac":"35693803","model":"Phone One","manufacturer":"Example Devices"}"#,
    },
    Question {
        about: "a subscription without a device",
        version: "v0.1.0",
        operation: "retrieve-identifier",
        body: r#"{"phoneNumber": "+34600000007"}"#,
        credentials: Credentials::Good,
        status: StatusCode::NOT_FOUND,
        expected: r#"{"status":404,"code":"NOT_FOUND"}"#,
    },
    Question {
        about: "a subscriber who does not consent",
        version: "v0.1.0",
        operation: "retrieve-identifier",
        body: r#"{"phoneNumber": "+34600000006"}"#,
        credentials: Credentials::Good,
        status: StatusCode::FORBIDDEN,
        expected: r#"{"status":403,"code":"PERMISSION_DENIED"}"#,
    },
    Question {
        about: "with a token that has expired",
        version: "v0.1.0",
        operation: "retrieve-identifier",
        body: r#"{"phoneNumber": "123456789"}"#,
        credentials: Credentials::Expired,
        status: StatusCode::UNAUTHORIZED,
        expected: r#"{"status":401,"code":"UNAUTHENTICATED"}"#,
    },
    Question {
        about: "without a token",
        version: "v0.1.0",
        operation: "retrieve-identifier",
        body: r#"{"phoneNumber": "123456789"}"#,
        credentials: Credentials::None,
        status: StatusCode::UNAUTHORIZED,
        expected: r#"{"status":401,"code":"UNAUTHENTICATED"}"#,
    },
    Question {
        about: "v0.2: the device is a member of the body",
        version: "v0.2",
        operation: "retrieve-identifier",
        body: r#"{"device": {"phoneNumber": "+123456789"}}"#,
        credentials: Credentials::Good,
        status: StatusCode::OK,
        expected: FIRST,
    },
    Question {
        about: "v0.2: the type alone",
        version: "v0.2",
        operation: "retrieve-type",
        body: r#"{"device": {"phoneNumber": "+34600000002"}}"#,
        credentials: Credentials::Good,
        status: StatusCode::OK,
        expected: SECOND_TYPE,
    },
    Question {
        about: "v0.2: neither body nor token names a device",
        version: "v0.2",
        operation: "retrieve-identifier",
        body: "{}",
        credentials: Credentials::Good,
        status: StatusCode::UNPROCESSABLE_ENTITY,
        expected: r#"{"status":422,"code":"MISSING_IDENTIFIER"}"#,
    },
    Question {
        about: "v0.3: the token names the device",
        version: "v0.3",
        operation: "retrieve-identifier",
        body: "{}",
        credentials: Credentials::OfFirst,
        status: StatusCode::OK,
        expected: FIRST,
    },
    Question {
        about: "v0.3: of several identifiers the answer names the one that was used",
        version: "v0.3",
        operation: "retrieve-type",
        body: r#"{"device": {"phoneNumber": "+123456789", "ipv6Address": "2001:db8:aa00::1"}}"#,
        credentials: Credentials::Good,
        status: StatusCode::OK,
        expected: r#"{"device":{"phoneNumber":"+123456789"},"lastChecked":"2024-02-20T10:41:38.657Z","imei":null,"tac":"49015420","model":"3110","manufacturer":"Nokia"}"#,
    },
    Question {
        about: "v0.3: a name for the device that only this consumer knows it by",
        version: "v0.3",
        operation: "retrieve-ppid",
        body: r#"{"device": {"phoneNumber": "+123456789"}}"#,
        credentials: Credentials::Good,
        status: StatusCode::OK,
        expected: FIRST_PPID,
    },
    Question {
        about: "v0.4alpha1: the device",
        version: "v0.4alpha1",
        operation: "retrieve-identifier",
        body: r#"{"device": {"phoneNumber": "+123456789"}}"#,
        credentials: Credentials::Good,
        status: StatusCode::OK,
        expected: FIRST,
    },
    Question {
        about: "v0.4alpha1: the type alone",
        version: "v0.4alpha1",
        operation: "retrieve-type",
        body: r#"{"device": {"phoneNumber": "+34600000002"}}"#,
        credentials: Credentials::Good,
        status: StatusCode::OK,
        expected: SECOND_TYPE,
    },
    Question {
        about: "v0.4alpha1: a name for the device",
        version: "v0.4alpha1",
        operation: "retrieve-ppid",
        body: "{}",
        credentials: Credentials::OfFirst,
        status: StatusCode::OK,
        expected: FIRST_PPID,
    },
    Question {
        about: "v0.4alpha1: is it this device?",
        version: "v0.4alpha1",
        operation: "match-identifier",
        body: r#"{"device": {"phoneNumber": "+123456789"}, "providedIdentifierType": "IMEI", "providedIdentifier": "490154203237518"}"#,
        credentials: Credentials::Good,
        status: StatusCode::OK,
        expected: r#"{"lastChecked":"2024-02-20T10:41:38.657Z","match":true,"imei":null}"#,
    },
    Question {
        about: "v0.4alpha1: is it of this type?",
        version: "v0.4alpha1",
        operation: "match-identifier",
        body: r#"{"device": {"phoneNumber": "+123456789"}, "providedIdentifierType": "TAC", "providedIdentifier": "35693803"}"#,
        credentials: Credentials::Good,
        status: StatusCode::OK,
        expected: r#"{"lastChecked":"2024-02-20T10:41:38.657Z","match":false,"tac":null}"#,
    },
    Question {
        about: "a version that is not served",
        version: "v9",
        operation: "retrieve-identifier",
        body: "{}",
        credentials: Credentials::Good,
        status: StatusCode::NOT_FOUND,
        expected: r#"{"status":404,"code":"NOT_FOUND"}"#,
    },
];

/// Those that can be answered as configured.
pub(super) fn of(config: &Config) -> Vec<&'static Question> {
    let answered = |question: &&Question| {
        let version = Version::named(question.version);
        let is_served = version.is_none_or(|version| config.api.versions.contains(&version));
        let needs_ppids = question.operation == Operation::RetrievePpid.as_str();
        is_served && (!needs_ppids || config.has_ppids())
    };
    QUESTIONS.iter().filter(answered).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On an address that others reach, a name that is gone with the next start is not given.
    #[test]
    fn names_of_devices_are_asked_for_where_they_are_given() {
        let mut config = Config::default();
        let about_names = |config: &Config| {
            let all = of(config);
            let about_names = all.iter().filter(|it| it.operation == "retrieve-ppid");
            (all.len(), about_names.count())
        };
        let (all, names) = about_names(&config);
        assert!(names > 0);
        config.api.listen.set_ip([0, 0, 0, 0].into());
        assert_eq!(about_names(&config), (all - names, 0));
    }
}
