//! One question to several instances at once, where one of them knows and nobody tells which.

use std::future::poll_fn;
use std::task::Poll;

use crate::sbi::Error;

/// Asked at once, at most: made-up questions must not become any number of them.
pub(crate) const MOST_ASKED: usize = 16;

/// How much an instance knows of what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Knowledge {
    /// That it has nothing of the kind.
    Nothing,
    /// It says nothing that would tell the others apart.
    Unclear,
    /// Whom it was asked about, and that there is nothing of the kind: some say so of anybody.
    Claimed,
    /// It is the one that was looked for.
    Certain,
}

/// An answer that one of several may be alone to give.
pub(crate) trait Informs {
    /// How much its instance knows.
    fn knowledge(&self) -> Knowledge;
}

impl<T> Informs for Option<T> {
    fn knowledge(&self) -> Knowledge {
        match self {
            Some(_) => Knowledge::Certain,
            None => Knowledge::Nothing,
        }
    }
}

/// Asks all of them at once, and gives the first answer of one that knows, and whose it is. That
/// nobody knows is believed only where each of them says so: then it is the least definite of their
/// answers, or `None` where nobody is asked.
pub(crate) async fn first_that_knows<I, T: Informs>(
    asked: impl Iterator<Item = impl Future<Output = Result<(I, T), Error>>>,
) -> Result<Option<(I, T)>, Error> {
    let mut asked: Vec<_> = asked.map(Box::pin).collect();
    let mut failure = None;
    let mut best: Option<(Knowledge, (I, T))> = None;
    poll_fn(|cx| {
        asked.retain_mut(|one| {
            let Poll::Ready(answer) = one.as_mut().poll(cx) else {
                return true;
            };
            match answer.map(|answer| (answer.1.knowledge(), answer)) {
                Ok(new) if best.as_ref().is_none_or(|best| best.0 < new.0) => best = Some(new),
                Ok(_) => {}
                Err(error) => failure = Some(error),
            }
            false
        });
        match (&best, failure) {
            (Some((Knowledge::Certain, _)), _) => {}
            _ if !asked.is_empty() => return Poll::Pending,
            (_, Some(error)) => return Poll::Ready(Err(error)),
            (_, None) => {}
        }
        Poll::Ready(Ok(best.take().map(|(_, answer)| answer)))
    })
    .await
}
