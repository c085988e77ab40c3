//! Why a request or connection failed, in one word: Envoy's abbreviations with Envoy's meanings,
//! because dashboards and people know them. One vocabulary for spans, metrics and logs.
//! A request has at most one flag here: the first cause, not the consequences.

use std::fmt;

macro_rules! flags {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Why a request failed; `None` when it did not.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum ResponseFlag {
            /// `-`: nothing to report. The response, of whatever status, came from the app.
            #[default]
            None = 0,
            $($(#[$doc])* $variant,)*
        }

        impl ResponseFlag {
            /// Every flag, `None` first.
            pub const ALL: &'static [Self] = &[Self::None, $(Self::$variant,)*];

            /// The word as it stands in labels, spans and logs.
            pub const fn as_str(self) -> &'static str {
                match self {
                    Self::None => "-",
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

flags! {
    /// `DC`: the client closed its connection before the response was complete.
    DownstreamClosed = "DC",
    /// `DPE`: the client broke the HTTP protocol.
    DownstreamProtocolError = "DPE",
    /// `DF`: the destination's name did not resolve.
    DnsFailed = "DF",
    /// `DT`: the whole exchange took longer than it may.
    DurationTimeout = "DT",
    /// `DI`: delayed by an injected fault.
    DelayInjected = "DI",
    /// `FI`: aborted by an injected fault.
    FaultInjected = "FI",
    /// `IH`: a header that must be present was absent or not acceptable.
    InvalidHeaders = "IH",
    /// `LR`: reset by this proxy.
    LocalReset = "LR",
    /// `NC`: the route names a destination that this proxy does not know.
    NoCluster = "NC",
    /// `NR`: no route matched.
    NoRoute = "NR",
    /// `OM`: shed because the proxy is short of memory, descriptors or connections.
    Overload = "OM",
    /// `RL`: rate limited.
    RateLimited = "RL",
    /// `SI`: the stream was idle for too long.
    StreamIdle = "SI",
    /// `UAEX`: refused by authorization.
    Unauthorized = "UAEX",
    /// `UC`: the upstream closed its connection before the response was complete.
    UpstreamClosed = "UC",
    /// `UF`: no connection to the upstream could be made (TLS included).
    UpstreamConnectFailure = "UF",
    /// `UH`: the destination has no healthy endpoint.
    NoHealthyUpstream = "UH",
    /// `UMSDR`: the upstream's stream lasted longer than it may.
    UpstreamMaxDuration = "UMSDR",
    /// `UO`: too many requests pending or connections open to the upstream.
    UpstreamOverflow = "UO",
    /// `UPE`: the upstream broke the HTTP protocol.
    UpstreamProtocolError = "UPE",
    /// `UR`: the upstream reset the stream.
    UpstreamReset = "UR",
    /// `URX`: given up after the last permitted retry.
    RetryLimit = "URX",
    /// `UT`: the upstream did not answer in time.
    UpstreamTimeout = "UT",
}

impl ResponseFlag {
    /// Whether there is nothing to report.
    pub const fn is_none(self) -> bool {
        matches!(self, Self::None)
    }
}

impl fmt::Display for ResponseFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn words_are_distinct_and_indexes_dense() {
        let words: HashSet<_> = ResponseFlag::ALL.iter().map(|flag| flag.as_str()).collect();
        assert_eq!(words.len(), ResponseFlag::ALL.len());
        for (index, flag) in ResponseFlag::ALL.iter().enumerate() {
            assert_eq!(*flag as usize, index);
        }
    }
}
