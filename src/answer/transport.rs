//! What a request came over, and what that means for its reply.

use crate::dns::wire::MAX_UDP;

/// The largest reply over UDP to a request without EDNS (RFC 1035 section 4.2.1).
const PLAIN_UDP: usize = 512;

/// What a request came over. All that is per transport, sizes, counters and
/// metrics, follows from what stands here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// One datagram, one message.
    Udp,
    /// One connection, many messages (RFC 7766).
    Tcp,
}

impl Transport {
    /// Every transport, in the order of the enum.
    pub const ALL: [Transport; 2] = [Transport::Udp, Transport::Tcp];

    /// One word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        }
    }

    /// Do messages share a connection, each behind its length (RFC 1035 section
    /// 4.2.2)?
    #[inline]
    pub fn is_stream(self) -> bool {
        self != Transport::Udp
    }

    /// The most octets a reply may have, where the request's OPT, if there is
    /// one, takes `payload` (RFC 6891 section 6.2.5).
    #[inline]
    pub fn limit(self, payload: Option<u16>) -> usize {
        match payload {
            _ if self.is_stream() => usize::from(u16::MAX),
            None => PLAIN_UDP,
            Some(payload) => usize::from(payload).clamp(PLAIN_UDP, MAX_UDP),
        }
    }
}
