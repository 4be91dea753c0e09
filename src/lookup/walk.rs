//! One lookup on its way: which identifier leads, whether token and subscriber allow it, and then
//! the device.

use std::pin::pin;

use adapters::sbi;
use device::{Supi, UeId};
use tokio::time::Instant;

use super::consent::{Authority, Disclosure};
use super::equipment::Equipment;
use super::question::{DeviceQuery, Identifier, SeveralIdentifiers, Wanted, identifiers};
use super::{Answer, Lookup, LookupError, Progress};
use crate::auth::Caller;

/// How often one request asks for consent and device where the subscriber's consent is told to be
/// another one each time: a refusal and a consent again is more than people do meanwhile.
const MOST_ROUNDS: usize = 4;

/// One lookup on its way: who asks for what, and until when.
pub(super) struct Walk<'a> {
    pub(super) lookup: &'a Lookup,
    pub(super) caller: &'a Caller,
    pub(super) several: SeveralIdentifiers,
    pub(super) wanted: Wanted,
    pub(super) authority: Authority,
    pub(super) deadline: Instant,
    pub(super) progress: &'a mut Progress,
}

impl Walk<'_> {
    pub(super) async fn answer(
        &mut self,
        identifiers: &[Option<Identifier>],
    ) -> Result<Answer, LookupError> {
        let mut given = identifiers.iter().flatten();
        match (given.next(), given.next(), self.several) {
            (None, ..) => Err(LookupError::Unsupported),
            _ if self.authority == Authority::Refused => Err(LookupError::ConsentMissing),
            (Some(only), None, _) | (Some(only), _, SeveralIdentifiers::FirstSupported) => {
                self.by_identifier(only).await
            }
            // Boxed: the rare ways must not make the common one large.
            (_, _, SeveralIdentifiers::First) => Box::pin(self.by_first(identifiers)).await,
            (_, _, SeveralIdentifiers::MustAgree) => {
                let subscription = Box::pin(self.agreed(identifiers)).await?;
                self.permitted_device(subscription, None).await
            }
        }
    }

    /// What the core does not know falls through to the next; what it knows is the answer, even
    /// when no device is registered for it.
    async fn by_first(
        &mut self,
        identifiers: &[Option<Identifier>],
    ) -> Result<Answer, LookupError> {
        for identifier in identifiers.iter().flatten() {
            match self.by_identifier(identifier).await {
                Err(LookupError::UnknownSubscription) if self.gives_way(identifier) => {
                    // Whoever it was, it is not whom the next one means.
                    self.progress.subscription = None;
                    self.progress.passed_over.push(identifier.kind());
                }
                decided => return decided,
            }
        }
        Err(LookupError::UnknownSubscription)
    }

    /// Whether the next one is tried where nobody has this one. Beside a token that names a device a
    /// name must be that device's: an answer about the device all the same would tell that nobody has
    /// the name. Addresses are nobody's now and then.
    fn gives_way(&self, identifier: &Identifier) -> bool {
        self.caller.subject.is_none() || !matches!(identifier, Identifier::Gpsi(_))
    }

    async fn by_identifier(&mut self, identifier: &Identifier) -> Result<Answer, LookupError> {
        let lookup = self.lookup;
        let subscription = {
            // Pinned where it is made: moving it would copy some kilobytes.
            let found = pin!(lookup.subscription_of(identifier, self.several, self.deadline));
            trace::stage("subscription", found).await?
        };
        self.permitted_device(subscription, Some(identifier)).await
    }

    /// The one subscription that all identifiers name. One that the core does not know beside one
    /// that it knows is a mismatch.
    async fn agreed(&mut self, identifiers: &[Option<Identifier>]) -> Result<UeId, LookupError> {
        let mut known: Option<Supi> = None;
        let mut unknown = false;
        for identifier in identifiers.iter().flatten() {
            let supi = match self.lookup.supi_of(identifier, self.deadline).await {
                // One that contradicts itself.
                Err(LookupError::Mismatch) => return Err(self.mismatch()),
                supi => supi?,
            };
            if known.is_some() && supi.is_some() && known != supi {
                return Err(self.mismatch());
            }
            unknown |= supi.is_none();
            known = known.or(supi);
            self.progress.subscription = known.clone().map(UeId::Supi);
        }
        match known {
            None => Err(LookupError::UnknownSubscription),
            Some(_) if unknown => Err(self.mismatch()),
            Some(supi) => Ok(UeId::Supi(supi)),
        }
    }

    /// No single subscription is meant: what was asked with counts against the limits, each
    /// combination anew, or one known name would be the cover for guesses at any other.
    fn mismatch(&mut self) -> LookupError {
        self.progress.subscription = None;
        LookupError::Mismatch
    }

    /// The device of a subscription, once token and subscriber allow it; before that, the core is
    /// not asked for the device at all.
    async fn permitted_device(
        &mut self,
        subscription: UeId,
        identifier: Option<&Identifier>,
    ) -> Result<Answer, LookupError> {
        let subscription = self.progress.subscription.insert(subscription);
        let public_name = matches!(subscription, UeId::Gpsi(_));
        self.lookup
            .check_token(self.caller, subscription, identifier, self.deadline)
            .await?;
        let (lookup, wanted, deadline) = (self.lookup, self.wanted, self.deadline);
        let (disclosure, equipment) = match self.authority {
            Authority::Refused => return Err(LookupError::ConsentMissing),
            Authority::Core => {
                let supi = lookup.supi(subscription, deadline).await?;
                // One name from here on, whichever identifier was asked with.
                *subscription = UeId::Supi(supi.clone());
                // Pinned where it is made: moving it would copy some kilobytes.
                let found = pin!(lookup.consented(&supi, public_name, wanted, deadline));
                found.await?
            }
            Authority::Nobody | Authority::Exempt => {
                if lookup.equipment.by_supi_alone() && matches!(subscription, UeId::Gpsi(_)) {
                    let supi = lookup.supi(subscription, deadline);
                    *subscription = UeId::Supi(supi.await?);
                }
                let found = pin!(lookup.equipment_of(subscription, public_name, deadline));
                (Disclosure::of(wanted), found.await?)
            }
        };
        let imei = equipment.pei.imei().ok_or(LookupError::NoImei)?;
        let imeisv = equipment.pei.imeisv();
        let last_checked = equipment.last_checked;
        Ok(Answer {
            imei,
            imeisv,
            last_checked,
            disclosure,
            led_by: identifier.map(Identifier::kind),
        })
    }
}

impl Lookup {
    /// What the subscriber lets anybody see, and the device: both as the core last told, of itself or
    /// asked.
    async fn consented(
        &self,
        supi: &Supi,
        has_public_name: bool,
        wanted: Wanted,
        deadline: Instant,
    ) -> Result<(Disclosure, Equipment), LookupError> {
        let subscription = UeId::Supi(supi.clone());
        let watch = self.consent.watch(supi);
        for _ in 0..MOST_ROUNDS {
            let words = watch.words();
            let disclosure = {
                let given = pin!(self.consent.of(supi, wanted, deadline));
                trace::stage("consent", given).await?
            };
            let equipment = {
                let found = pin!(self.equipment_of(&subscription, has_public_name, deadline));
                found.await?
            };
            // A refusal may have been told while the core was asked for the device; and, while it is
            // asked for consent once more, another device.
            if watch.words() == words {
                return Ok((disclosure, equipment));
            }
        }
        // Nobody is disclosed whose word is another one each time; it will settle.
        let changing = sbi::Error::Overloaded {
            retry_after: Some(1),
        };
        Err(LookupError::ConsentUnknown(changing))
    }

    async fn equipment_of(
        &self,
        subscription: &UeId,
        has_public_name: bool,
        deadline: Instant,
    ) -> Result<Equipment, LookupError> {
        let found = pin!(self.equipment.of(subscription, has_public_name, deadline));
        trace::stage("equipment", found).await
    }

    /// A token that names a device is good for its subscription alone. One that cannot be shown to
    /// be the same is another one. What was found out of the subscription on the way is its name from
    /// then on.
    async fn check_token(
        &self,
        caller: &Caller,
        subscription: &mut UeId,
        identifier: Option<&Identifier>,
        deadline: Instant,
    ) -> Result<(), LookupError> {
        let subject = caller.subject.as_ref().map(DeviceQuery::from);
        let subject = subject.and_then(|query| identifiers(&query).into_iter().flatten().next());
        let Some(subject) = subject else {
            return Ok(());
        };
        if identifier == Some(&subject) {
            return Ok(());
        }
        // Boxed: the rare way must not make the common one large.
        let token = Box::pin(self.supi_of(&subject, deadline)).await?;
        let asked = Box::pin(self.supi(subscription, deadline)).await?;
        let is_of_token = token.as_ref() == Some(&asked);
        *subscription = UeId::Supi(asked);
        is_of_token.then_some(()).ok_or(LookupError::NotOfToken)
    }
}
