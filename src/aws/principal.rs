//! Who the credentials of a source are, for an operator who checks them.

use futures_util::future::BoxFuture;

use super::LIMITS;
use super::account::IDENTIFY;
use super::session::Asked;
use eipdns::source::ec2::{Of, Principal};
use eipdns::source::error::PollError;

/// Asks STS once, with the credentials that the source's calls are signed with.
pub(super) fn principal(of: &Of<'_>) -> BoxFuture<'static, Result<Principal, PollError>> {
    let asked = Asked::new(of, IDENTIFY);
    Box::pin(async move {
        let http = asked.http(false);
        let mut session = asked.open(&http).await?;
        session.keeper.provide().await?;
        session.identify(http, LIMITS.whole).await
    })
}
