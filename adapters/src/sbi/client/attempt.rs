//! One request on its way to one instance: whom it is at, and what its outcome says of them.

use std::sync::Arc;

use tokio::time::Instant;

use super::super::endpoint::{Lease, Shared, is_failure};
use super::super::overload::Whose;
use super::super::pool::Producer;
use super::super::response::Answer;
use super::super::{ApiRoot, proxy};

/// One request on its way to one instance.
pub(super) struct Attempt<'a> {
    pub(super) lease: Lease,
    /// The instance that was chosen behind a proxy.
    pub(super) target: Option<Lease>,
    pub(super) shared: &'a Shared,
    /// What the proxies share, where it goes through one.
    pub(super) proxy: Option<&'a Shared>,
    pub(super) begun: Instant,
    pub(super) is_settled: bool,
}

impl Attempt<'_> {
    /// Who answers it, as far as that is known: a proxy may have chosen.
    fn producer(&self) -> Option<&Lease> {
        match (&self.target, self.proxy) {
            (Some(target), _) => Some(target),
            (None, None) => Some(&self.lease),
            (None, Some(_)) => None,
        }
    }

    /// Who gave the answer, by the nearest name that is known.
    pub(super) fn giver(&self, answer: &Answer) -> Producer {
        match self.producer() {
            Some(producer) => Producer::Chosen(Arc::clone(&producer.member)),
            None => match proxy::chosen(answer.headers()) {
                (_, Some(id)) => Producer::Named(id),
                (_, None) => Producer::Behind(Arc::clone(&self.lease.member)),
            },
        }
    }

    /// Whether the answer is that of the proxy itself.
    fn is_of_proxy(&self, answer: &Answer) -> bool {
        self.proxy.is_some() && proxy::is_of_proxy(answer.headers())
    }

    /// Where the instance is that was chosen behind a proxy.
    pub(super) fn target(&self) -> Option<&ApiRoot> {
        self.target
            .as_ref()
            .map(|target| &target.member.instance.root)
    }

    pub(super) fn settle(&mut self, answer: &Answer) {
        self.is_settled = true;
        let took = self.begun.elapsed();
        let (status, headers) = (answer.status(), answer.headers());
        if let Some(shared) = self.proxy {
            let Lease {
                member, is_probe, ..
            } = &self.lease;
            member.endpoint.press(headers, Whose::Proxy, shared);
            // What a proxy passes on is no fault of its own.
            if is_failure(status) && self.is_of_proxy(answer) {
                return member.endpoint.fail(*is_probe, shared);
            }
            member.endpoint.pass();
        }
        if let Some(Lease {
            member, is_probe, ..
        }) = self.producer()
        {
            let whose = Whose::Producer(member.instance.nf_instance_id);
            member.endpoint.press(headers, whose, self.shared);
            member.endpoint.judge(status, took, *is_probe, self.shared);
        }
    }

    /// There is no answer that could be used, from whomever: of a proxy that chooses, nobody else
    /// is known.
    pub(super) fn fail(&mut self) {
        self.is_settled = true;
        let (lease, shared) = match self.producer() {
            Some(producer) => (producer, self.shared),
            None => (&self.lease, self.proxy.unwrap_or(self.shared)),
        };
        lease.member.endpoint.fail(lease.is_probe, shared);
    }

    /// Lets whoever answered 503 rest, and says who is not to be asked again: the proxy where it
    /// chose who that was, for another one may choose another.
    pub(super) fn rest(&self, answer: &Answer) -> usize {
        let seconds = answer.retry_after();
        let proxy = &self.lease.member.endpoint;
        match (self.proxy, self.producer()) {
            (Some(shared), _) if self.is_of_proxy(answer) => {
                proxy.rest(shared, seconds);
                proxy.number()
            }
            (_, Some(producer)) => {
                producer.member.endpoint.rest(self.shared, seconds);
                producer.member.endpoint.number()
            }
            (_, None) => proxy.number(),
        }
    }
}

impl Drop for Attempt<'_> {
    /// Whoever stops waiting after a long time was not answered well.
    fn drop(&mut self) {
        let slow = self.shared.settings.outlier.slow;
        if !self.is_settled && !slow.is_zero() && self.begun.elapsed() > slow {
            self.fail();
        }
    }
}
