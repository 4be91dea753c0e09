//! A subscription that one part of the UDMs serves, by its SUPI, and that is asked for by its GPSI:
//! what one of them does not know another may.

use device::UeId;
use tokio::time::Instant;

use crate::nrf::SubscriberDirectory;
use crate::sbi::{Answer, ApiRoot, Error, Facts, Operation, Path, Subject};
use crate::several::{Informs, Knowledge, MOST_ASKED, first_that_knows};

/// Asks those that most likely know the subscription, else each part of the UDMs until one does.
pub(super) async fn ask<T: Facts + Informs>(
    directory: &SubscriberDirectory,
    operation: &Operation,
    path: Path,
    ue: &UeId,
    deadline: Instant,
    read: impl Fn(&Answer) -> Result<T, Error>,
) -> Result<T, Error> {
    let ask_one = async |udms: &[ApiRoot]| {
        let subject = Subject::UeAmong(ue, udms);
        operation.get(path.clone(), subject, deadline, &read).await
    };
    let service = operation.service();
    if let Some(udms) = directory.likely(service, ue, deadline).await {
        let told = ask_one(&udms).await?;
        if told.knowledge() == Knowledge::Certain {
            return Ok(told);
        }
        // It may have moved, or the NRF saw only some of them.
    }
    let parts = directory.parts(service, ue);
    let ask_part = |part| {
        let answer = ask_one(part);
        async move { Ok((part, answer.await?)) }
    };
    let asked = parts.iter().take(MOST_ASKED).map(Vec::as_slice);
    let Some((part, told)) = first_that_knows(asked.map(ask_part)).await? else {
        // All of them have gone meanwhile.
        return operation.get(path, Subject::Ue(ue), deadline, read).await;
    };
    match told.knowledge() {
        Knowledge::Certain => directory.is_known_at(ue, part),
        // Those that were not asked may know it.
        Knowledge::Nothing | Knowledge::Unclear | Knowledge::Claimed => {
            if parts.len() > MOST_ASKED {
                return Err(Error::Unreachable);
            }
        }
    }
    Ok(told)
}
