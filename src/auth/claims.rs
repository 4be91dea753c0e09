//! What the claims of a token must say, whether it is signed (RFC 9068) or explained by its issuer
//! (RFC 7662), and the caller that follows from them.
//!
//! Pure: the time comes in, nothing is asked.

use std::collections::HashSet;
use std::sync::Arc;

use super::caller::{Caller, ConsumerId, Scopes};
use super::device_claims;
use super::members::Members;
use super::reason::Reason;
use crate::config;

/// What an issuer's tokens must say.
pub(super) struct ClaimRules {
    pub(super) issuer: String,
    audience: String,
    audience_required: bool,
    consumer_claims: Vec<String>,
    consumer_prefix: String,
    device_claims: Vec<String>,
    leeway: i64,
    /// The consumers that the operator names in the configuration.
    listed: Arc<HashSet<String>>,
}

/// What may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completeness {
    /// A signed token stands for itself: `iss`, `aud` and `exp` must be there.
    Whole,
    /// An issuer that was asked has said `active`, which covers what it does not repeat: itself
    /// and the time. Not whom the token is for: it is active for every service of the issuer.
    Partial,
}

/// A token's worth.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) caller: Caller,
    /// The thumbprint of the key that it is bound to (`cnf.jkt`, RFC 9449 6.1).
    pub(super) bound_to: Option<Thumbprint>,
    /// Until when it is good, leeway included; absent: its issuer does not say.
    pub(super) good_until: Option<i64>,
}

/// The SHA-256 thumbprint of a key (RFC 7638).
pub(super) type Thumbprint = [u8; 32];

impl ClaimRules {
    pub(super) fn new(
        issuer: &config::Issuer,
        leeway: std::time::Duration,
        listed: Arc<HashSet<String>>,
    ) -> Self {
        Self {
            issuer: issuer.issuer.clone(),
            audience: issuer.audience.clone(),
            audience_required: issuer.audience_required,
            consumer_claims: issuer.consumer_claims.clone(),
            consumer_prefix: issuer.consumer_prefix.clone(),
            device_claims: issuer.device_claims.clone(),
            leeway: i64::try_from(leeway.as_secs()).unwrap_or(i64::MAX),
            listed,
        }
    }

    /// The grant that the claims amount to at `now` (seconds since 1970).
    pub(super) fn read(
        &self,
        claims: &Members<'_>,
        completeness: Completeness,
        now: i64,
    ) -> Result<Grant, Reason> {
        let may_lack = completeness == Completeness::Partial;
        match claims.text("iss")? {
            Some(issuer) if issuer == self.issuer => {}
            None if may_lack => {}
            _ => return Err(Reason::Issuer),
        }
        match claims.texts("aud")? {
            Some(audiences) if audiences.contains(&self.audience) => {}
            None if may_lack && !self.audience_required => {}
            _ => return Err(Reason::Audience),
        }
        let good_until = self.check_times(claims, may_lack, now)?;
        let (device_claim, subject) = device_claims::read(claims, &self.device_claims)?.unzip();
        let caller = Caller {
            consumer: self.consumer(claims, device_claim)?,
            scopes: scopes(claims)?,
            subject,
        };
        Ok(Grant {
            caller,
            bound_to: bound_to(claims)?,
            good_until,
        })
    }

    /// RFC 7519 4.1.4 to 4.1.6: expired is what has reached `exp`; what was issued in the future
    /// comes from a clock that cannot be trusted with the rest.
    fn check_times(
        &self,
        claims: &Members<'_>,
        may_lack: bool,
        now: i64,
    ) -> Result<Option<i64>, Reason> {
        let expires = claims.date("exp", f64::floor)?;
        if expires.is_none() && !may_lack {
            return Err(Reason::Malformed);
        }
        let good_until = expires.map(|expires| expires.saturating_add(self.leeway));
        if good_until.is_some_and(|end| now >= end) {
            return Err(Reason::Expired);
        }
        let latest_start = now.saturating_add(self.leeway);
        for name in ["nbf", "iat"] {
            let start = claims.date(name, f64::ceil)?;
            if start.is_some_and(|start| start > latest_start) {
                return Err(Reason::NotYetValid);
            }
        }
        Ok(good_until)
    }

    /// The first consumer claim that is there. One that names a device names no consumer: limits,
    /// logs and the audit would carry a phone number as somebody's id. Nor does `sub` beside a
    /// device: there it is the user, and every user would have limits of its own. Alone it is whoever
    /// the issuer takes for the subject: written like a number or a network access identifier it may
    /// be the subscriber, unless the operator has listed it as a consumer. Such a `client_id` is none:
    /// issuers give it to software (RFC 6749 2.2), and many count.
    fn consumer(
        &self,
        claims: &Members<'_>,
        device_claim: Option<&str>,
    ) -> Result<ConsumerId, Reason> {
        for name in &self.consumer_claims {
            if let Some(id) = claims.text(name)? {
                let consumer = format!("{}{id}", self.consumer_prefix);
                let of_somebody = || {
                    device_claim.is_some()
                        || (device_claims::may_name_somebody(&id)
                            && !self.listed.contains(&consumer))
                };
                let personal = device_claim == Some(name.as_str())
                    || device_claims::names_device(&id)
                    || (name == "sub" && of_somebody());
                return (!personal)
                    .then(|| ConsumerId::parse(&consumer))
                    .flatten()
                    .ok_or(Reason::Consumer);
            }
        }
        Err(Reason::Consumer)
    }
}

/// `scope` as a list in a string (RFC 8693 4.2) or, as some servers write it, an array.
fn scopes(claims: &Members<'_>) -> Result<Scopes, Reason> {
    let lists = claims.texts("scope")?.unwrap_or_default();
    Ok(Scopes::parse(&lists.join(" ")))
}

/// `cnf` (RFC 7800 3.1). A binding that nobody here can check (to a client certificate, say, alone
/// or beside a key) is not as good as none: the token may be in the wrong hands.
fn bound_to(claims: &Members<'_>) -> Result<Option<Thumbprint>, Reason> {
    let Some(confirmation) = claims.get::<Members<'_>>("cnf")? else {
        return Ok(None);
    };
    let thumbprint = confirmation.text("jkt")?.ok_or(Reason::Binding)?;
    if confirmation.len() > 1 {
        return Err(Reason::Binding);
    }
    let thumbprint = super::jws::decode(&thumbprint)?;
    let thumbprint = thumbprint.try_into().map_err(|_| Reason::Binding)?;
    Ok(Some(thumbprint))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::auth::testing::issuer;

    const NOW: i64 = 1_700_000_000;

    fn claims() -> Value {
        json!({
            "iss": "https://issuer.example", "aud": "device-identifier", "client_id": "shop",
            "exp": NOW + 60, "scope": "device-identifier:retrieve-type",
        })
    }

    fn read_as(claims: &Value, completeness: Completeness) -> Result<Grant, Reason> {
        read_of(&issuer("https://issuer.example"), claims, completeness)
    }

    fn read_of(
        issuer: &config::Issuer,
        claims: &Value,
        completeness: Completeness,
    ) -> Result<Grant, Reason> {
        let listed = Arc::new(["34600000009".to_owned()].into());
        let rules = ClaimRules::new(issuer, std::time::Duration::from_secs(30), listed);
        let json = claims.to_string();
        rules.read(&Members::parse(json.as_bytes())?, completeness, NOW)
    }

    fn read(change: impl FnOnce(&mut Value)) -> Result<Grant, Reason> {
        let mut claims = claims();
        change(&mut claims);
        read_as(&claims, Completeness::Whole)
    }

    fn with(name: &str, value: Value) -> Result<Grant, Reason> {
        read(|claims| claims[name] = value)
    }

    #[test]
    fn issuer_and_audience_must_be_ours() {
        for (name, value, reason) in [
            ("iss", json!("https://issuer.example"), None),
            (
                "iss",
                json!("https://issuer.example/"),
                Some(Reason::Issuer),
            ),
            ("iss", json!("https://other.example"), Some(Reason::Issuer)),
            ("iss", json!(null), Some(Reason::Issuer)),
            (
                "iss",
                json!(["https://issuer.example"]),
                Some(Reason::Malformed),
            ),
            ("aud", json!(["other", "device-identifier"]), None),
            ("aud", json!("device-identifier-2"), Some(Reason::Audience)),
            ("aud", json!(["other"]), Some(Reason::Audience)),
            ("aud", json!([]), Some(Reason::Audience)),
            ("aud", json!(null), Some(Reason::Audience)),
            (
                "aud",
                json!(["device-identifier", 1]),
                Some(Reason::Malformed),
            ),
            (
                "aud",
                json!({"device-identifier": 1}),
                Some(Reason::Malformed),
            ),
        ] {
            assert_eq!(with(name, value.clone()).err(), reason, "{name}: {value}");
        }
    }

    #[test]
    fn times_are_held_to_the_second() {
        for (name, value, reason) in [
            ("exp", json!(NOW - 29), None),
            ("exp", json!(NOW - 30), Some(Reason::Expired)),
            ("exp", json!(NOW - 31), Some(Reason::Expired)),
            ("exp", json!(-1), Some(Reason::Expired)),
            ("exp", json!(i64::MIN), Some(Reason::Expired)),
            ("exp", json!(i64::MAX), None),
            ("exp", json!(u64::MAX), None),
            ("exp", json!(1e300), None),
            ("exp", json!(NOW.to_string()), Some(Reason::Malformed)),
            ("exp", json!(null), Some(Reason::Malformed)),
            ("nbf", json!(NOW + 30), None),
            ("nbf", json!(NOW + 31), Some(Reason::NotYetValid)),
            ("nbf", json!(u64::MAX), Some(Reason::NotYetValid)),
            ("nbf", json!("soon"), Some(Reason::Malformed)),
            ("iat", json!(NOW + 30), None),
            ("iat", json!(NOW + 31), Some(Reason::NotYetValid)),
            ("iat", json!(0), None),
        ] {
            assert_eq!(with(name, value.clone()).err(), reason, "{name}: {value}");
        }
        assert_eq!(with("iat", json!(0)).unwrap().good_until, Some(NOW + 90));
    }

    #[test]
    fn an_issuer_that_was_asked_may_say_less_but_nothing_else() {
        let little = json!({"active": true, "client_id": "shop", "aud": "device-identifier"});
        let grant = read_as(&little, Completeness::Partial).unwrap();
        assert_eq!(grant.caller.consumer.as_str(), "shop");
        assert_eq!(grant.good_until, None);
        assert!(
            !grant
                .caller
                .scopes
                .allows("device-identifier:retrieve-type")
        );
        for (name, value, reason) in [
            ("iss", json!("https://other.example"), Reason::Issuer),
            ("aud", json!("other"), Reason::Audience),
            ("exp", json!(NOW - 30), Reason::Expired),
            ("nbf", json!(NOW + 31), Reason::NotYetValid),
        ] {
            let mut claims = little.clone();
            claims[name] = value;
            assert_eq!(read_as(&claims, Completeness::Partial).err(), Some(reason));
        }
    }

    #[test]
    fn an_audience_may_be_left_out_only_where_the_operator_says_so() {
        let mut lax = issuer("https://issuer.example");
        lax.audience_required = false;
        let strict = issuer("https://issuer.example");
        for (aud, strictly, laxly) in [
            (json!("device-identifier"), None, None),
            (json!(null), Some(Reason::Audience), None),
            (json!([]), Some(Reason::Audience), Some(Reason::Audience)),
            (
                json!("other"),
                Some(Reason::Audience),
                Some(Reason::Audience),
            ),
        ] {
            let mut claims = claims();
            claims["aud"] = aud.clone();
            let outcome = |issuer, completeness| read_of(issuer, &claims, completeness).err();
            assert_eq!(outcome(&strict, Completeness::Partial), strictly, "{aud}");
            assert_eq!(outcome(&lax, Completeness::Partial), laxly, "{aud}");
            assert_eq!(outcome(&lax, Completeness::Whole), strictly, "{aud}");
        }
    }

    #[test]
    fn the_first_consumer_claim_counts() {
        let consumer = |extra: Value| {
            read(|claims| {
                claims["client_id"] = Value::Null;
                let extra = extra.as_object().unwrap().clone();
                claims.as_object_mut().unwrap().extend(extra);
            })
            .map(|grant| grant.caller.consumer.as_str().to_owned())
        };
        for (extra, expected) in [
            (json!({"client_id": "a", "azp": "b", "sub": "c"}), Ok("a")),
            (json!({"azp": "b", "sub": "c"}), Ok("b")),
            (json!({"sub": "c"}), Ok("c")),
            (json!({}), Err(Reason::Consumer)),
            (json!({"client_id": ""}), Err(Reason::Consumer)),
            (json!({"client_id": 7, "azp": "b"}), Err(Reason::Malformed)),
            (json!({"sub": "tel:+34600000002"}), Err(Reason::Consumer)),
            (
                json!({"sub": "ipport:84.125.93.10:59765"}),
                Err(Reason::Consumer),
            ),
            (json!({"sub": "Tel:+34600000002"}), Err(Reason::Consumer)),
            (json!({"sub": "+34600000002"}), Err(Reason::Consumer)),
            (
                json!({"client_id": "imsi-001010000000001"}),
                Err(Reason::Consumer),
            ),
            (
                json!({"sub": "imei-490154203237518"}),
                Err(Reason::Consumer),
            ),
            (json!({"sub": "+shop"}), Ok("+shop")),
            // Perhaps the subscriber, unless the operator knows better.
            (json!({"sub": "34600000002"}), Err(Reason::Consumer)),
            (json!({"sub": "34 600-000-002"}), Err(Reason::Consumer)),
            (json!({"sub": "001010000000001"}), Err(Reason::Consumer)),
            (json!({"sub": "8934071100276980483"}), Err(Reason::Consumer)),
            (json!({"sub": "a@b.example"}), Err(Reason::Consumer)),
            (json!({"sub": "sip:a@b.example"}), Err(Reason::Consumer)),
            (json!({"sub": "84.125.93.10"}), Err(Reason::Consumer)),
            (json!({"sub": "84.125.93.10:59765"}), Err(Reason::Consumer)),
            (json!({"sub": "2001:db8::1"}), Err(Reason::Consumer)),
            (json!({"sub": "34600000009"}), Ok("34600000009")),
            (json!({"sub": "+34600000009"}), Err(Reason::Consumer)),
            (json!({"sub": "shop-4711"}), Ok("shop-4711")),
            (json!({"sub": "1234"}), Ok("1234")),
            // Given to software, whatever it looks like.
            (
                json!({"client_id": "34600000002", "sub": "x"}),
                Ok("34600000002"),
            ),
            (
                json!({"azp": "a@b.example", "sub": "1@2"}),
                Ok("a@b.example"),
            ),
        ] {
            assert_eq!(
                consumer(extra.clone()),
                expected.map(str::to_owned),
                "{extra}"
            );
        }
    }

    #[test]
    fn scopes_come_as_text_or_array() {
        for (scope, allowed) in [
            (json!("openid device-identifier:retrieve-type"), true),
            (json!(["openid", "device-identifier:retrieve-type"]), true),
            (json!(["openid device-identifier:retrieve-type"]), true),
            (json!("device-identifier:retrieve-types"), false),
            (json!([]), false),
            (json!(null), false),
        ] {
            let grant = with("scope", scope.clone()).unwrap();
            let allows = grant
                .caller
                .scopes
                .allows("device-identifier:retrieve-type");
            assert_eq!(allows, allowed, "{scope}");
        }
        assert_eq!(with("scope", json!(1)).err(), Some(Reason::Malformed));
    }

    #[test]
    fn a_binding_is_understood_or_the_token_is_refused() {
        let jkt = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
        assert!(with("cnf", json!({"jkt": jkt})).unwrap().bound_to.is_some());
        for (cnf, reason) in [
            (json!({"x5t#S256": jkt}), Reason::Binding),
            (json!({"jkt": jkt, "x5t#S256": jkt}), Reason::Binding),
            (json!({}), Reason::Binding),
            (json!({"jkt": "AQAB"}), Reason::Binding),
            (json!({"jkt": 1}), Reason::Malformed),
            (json!("jkt"), Reason::Malformed),
        ] {
            assert_eq!(with("cnf", cnf.clone()).err(), Some(reason), "{cnf}");
        }
    }
}
