//! Every code there is: its number, how bad it is, what it means, and what follows from it unless the
//! finding says so itself. A number is never given twice nor changed; `docs/check.md` explains each,
//! with an example that produces it.

use std::{fmt, str::FromStr};

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Note,
    /// In force, and hardly meant.
    Warning,
    /// Refused.
    Error,
}

impl Severity {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Severity {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Note, Self::Warning, Self::Error]
            .into_iter()
            .find(|severity| severity.as_str() == text)
            .ok_or(())
    }
}

/// What follows from an error: nothing of the object changes.
const REFUSED: &str = "it is refused; its last good version, if there is one, stays in force";

macro_rules! codes {
    ($($name:ident = $number:literal $severity:ident $meaning:literal $consequence:expr;)*) => {
        /// What is wrong, for programs: `HDL` and four digits, of which the first two are the theme.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $meaning] $name = $number,)*
        }

        impl Code {
            /// All of them, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// How bad it is.
            pub fn severity(self) -> Severity {
                match self {
                    $(Self::$name => Severity::$severity,)*
                }
            }

            /// What it means, in a line.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $meaning,)*
                }
            }

            /// What follows from it.
            pub fn consequence(self) -> &'static str {
                match self {
                    $(Self::$name => $consequence,)*
                }
            }
        }
    };
}

codes! {
    // 00: reading.
    Unreadable = 1 Error "a file that cannot be read" "what it held before stays in force";
    Syntax = 2 Error "a document that is no YAML" REFUSED;
    TooLarge = 3 Error "a document that is too large" REFUSED;
    Incomplete = 4 Error "an object without apiVersion, kind or name" REFUSED;
    UnknownKind = 5 Error "a kind that there is not" REFUSED;
    UnsupportedKind = 6 Error "a kind that is not supported" "it has no effect at all";
    UnknownVersion = 7 Error "a version of a kind that there is not" REFUSED;
    BadName = 8 Error "an object whose name or namespace is none" REFUSED;
    Twice = 9 Error "an object that is there twice" "the first one is in force, this one is not";
    UnknownField = 10 Error "a field that there is not" REFUSED;
    UnsupportedField = 11 Error "a field that is not supported" REFUSED;
    MissingField = 12 Error "a field that is missing" REFUSED;
    WrongType = 13 Error "a value of the wrong type" REFUSED;
    UnknownValue = 14 Error "a word that is none of those allowed" REFUSED;
    OutOfRange = 15 Error "a number that is out of range" REFUSED;
    Exclusive = 16 Error "fields of which only one may be given" REFUSED;
    Meaningless = 17 Error "a field that has no meaning beside another, or without it" REFUSED;
    Empty = 18 Error "a list or a name that is empty" REFUSED;
    Repeated = 19 Error "something that one list names twice" REFUSED;
    UnsupportedValue = 20 Error "a value that is not supported" REFUSED;
    BadValue = 21 Error "a value that cannot be read" REFUSED;
    BadAnnotation = 22 Error "an annotation of ours that cannot be read" REFUSED;
    // 01: names and destinations.
    BadHost = 101 Error "a host that is no name" REFUSED;
    NoService = 102 Error "a destination that no service has" REFUSED;
    NoPort = 103 Error "a destination's port that its service lacks" REFUSED;
    NoSubset = 104 Error "a subset that no DestinationRule defines" REFUSED;
    SubsetInUse = 105 Error "a subset taken away while routes lead to it" REFUSED;
    HostOfNobody = 106 Warning "a host that no service has" "it applies to nothing";
    HiddenHost = 107 Warning "a host that another resource has already" "for this host it applies to nothing";
    HiddenPolicy = 108 Warning "a traffic policy that another resource has already" "this policy is not in force";
    EmptySubset = 109 Warning "a subset that selects no pod" "requests that are routed to it fail with 503";
    NotForSidecars = 110 Warning "routes that are for gateways alone" "no sidecar uses these routes";
    BadPort = 111 Error "a number that is no port" REFUSED;
    BadAddress = 112 Error "an address that is none" REFUSED;
    NoDelegate = 113 Warning "a delegate that there is not" "requests that match this rule go on to the next";
    UnusedDelegate = 114 Warning "routes without hosts, to which nobody delegates" "they apply to nothing";
    WideDelegate = 115 Warning "a delegate's rule that matches more than the one that delegates" "it is not in force there";
    // 02: matches.
    BadMatcher = 201 Error "a matcher that cannot be used" REFUSED;
    BadHeaderName = 202 Error "a header or parameter whose name is none" REFUSED;
    PseudoHeader = 203 Error "a pseudo-header among the headers" REFUSED;
    NoMatch = 204 Error "a rule for TLS that names no host" REFUSED;
    DeadRule = 205 Warning "a rule that no request reaches" "what it matches goes to the earlier rule";
    DeadMatch = 206 Warning "a match that no request reaches" "what it matches goes to the earlier rule";
    RepeatedMatch = 207 Note "a match that its rule has already" "it changes nothing";
    VainMatch = 208 Warning "a match that no request fulfils" "it takes no request";
    UnseenHeader = 209 Warning "a header that belongs to a connection" "it is taken off before routes are looked at";
    PortOfNobody = 210 Warning "a match for a port that the service lacks" "it takes no request";
    ClientOfNobody = 211 Warning "a match for clients that there are not" "it takes no request until such a pod comes";
    // 03: what a rule does.
    NoRoute = 301 Error "a rule that leads nowhere" REFUSED;
    NoWeight = 302 Error "weights that total 0" REFUSED;
    BadPercentage = 303 Error "a percentage that is not from 0 to 100" REFUSED;
    FaultOfNobody = 304 Warning "a fault without percentage" "it is in force for no request";
    BadStatus = 305 Error "a status that no answer can have" REFUSED;
    BadPath = 306 Error "a path that is none" REFUSED;
    BadAuthority = 307 Error "an authority that is none" REFUSED;
    ReservedHeader = 308 Error "a header that routes may not change" REFUSED;
    BadHeaderValue = 309 Error "a value that no header can have" REFUSED;
    BadRewrite = 310 Error "a rewrite that cannot be made" REFUSED;
    SelfMirror = 311 Warning "a copy that goes where its request goes" "what is sent there is handled twice";
    RedirectLoop = 312 Warning "a redirect to what it redirects" "clients follow it in a circle and give up";
    UnsentHeader = 313 Note "a header that servers never see" "the server's sidecar takes it off again";
    // 04: timeouts and retries.
    TooShort = 401 Error "a duration that is too short" REFUSED;
    BadRetryCondition = 402 Error "a condition of retries that there is not" REFUSED;
    UnsafeRetry = 403 Warning "retries of what may have been done already" "a request that was handled may be handled again, whatever its method: a payment may be made twice";
    LateRetry = 404 Warning "a timeout that ends before a slow try does" "what a slow try was retried for is never repeated";
    TightTimeout = 405 Note "a timeout with less time than its tries may take" "not all retries are made when tries are slow";
    // 05: traffic policies.
    PortSettingsDrop = 501 Warning "portLevelSettings that drop what was set above" "what is not repeated is not in force for this port";
    BadHash = 502 Error "consistent hashing that is not clear" REFUSED;
    BadTable = 503 Error "a table of consistent hashing that cannot be made" REFUSED;
    BadPlace = 504 Error "a region or zone that is none" REFUSED;
    BadShares = 505 Error "shares that do not total 100" REFUSED;
    TlsFiles = 506 Error "TLS whose certificates do not fit its mode" REFUSED;
    // 06: security and reach.
    PortsOfNobody = 601 Error "modes of ports without the pods whose ports they are" REFUSED;
    NotEnforced = 602 Note "a NetworkPolicy" "the mesh does not enforce it; a cluster's network may";
    PolicyOfNobody = 603 Warning "a policy that selects no pod" "it is for nobody until such a pod comes";
    PortOfNoPod = 604 Warning "a mode for a port that no selected pod has" "it is for nothing";
    StrictUnguarded = 605 Warning "STRICT for pods without a sidecar" "nothing guards these pods: whoever reaches them may call";
    LockedOut = 606 Warning "STRICT, with clients that have no sidecar" "what they send is refused";
    TlsMismatch = 607 Warning "TLS of clients that does not fit what the pods accept" "every request fails";
    SeesNobody = 608 Warning "an egress list that names no service" "its pods see none of what it names";
    // 07: services and workloads.
    SharedAddresses = 701 Warning "hosts that share addresses" "calls of the addresses are those of the first host by name";
    NoEndpoints = 702 Warning "a service without endpoints" "every call fails";
    NoPorts = 703 Warning "a service without ports" "no call is one of it";
    BadWorkload = 704 Error "a workload or service of which nothing can be made" "it has no pods, or no address";
    UndeclaredPort = 705 Note "a port that declares no protocol" "the sidecar looks at the first bytes; a server that speaks first is waited for some milliseconds";
    NotMeshed = 706 Note "routes to a service without sidecars" "clients' sidecars follow them, without mutual TLS, without an identity of the server and without its span";
    ParentOfNobody = 707 Warning "a route that is attached to nothing" "no request is decided by it";
    ForGateways = 708 Note "a route that is attached to gateways alone" "no sidecar uses it; a gateway of another program may";
    RouteBeside = 709 Warning "a VirtualService beside a route of Gateway API" "at the ports to which that route is attached, the VirtualService is not in force";
    // 08: Gateway API.
    NoParent = 801 Error "a parentRef that leads to no Service of the mesh" "the route does not apply there";
    PortTaken = 802 Error "an HTTPRoute at a port that a GRPCRoute has" "the HTTPRoute does not apply there";
    NoBackend = 803 Error "a backendRef that leads to no Service and port" "its share is answered with 500 (gRPC: UNAVAILABLE)";
    BackendKind = 804 Error "a backendRef to what cannot be called" "its share is answered with 500 (gRPC: UNAVAILABLE)";
    UnsupportedFilter = 805 Error "a filter that the mesh does not have" "requests that should pass it are answered with 500 (gRPC: UNAVAILABLE)";
    FiltersCollide = 806 Error "filters that exclude each other" "requests of the rule are answered with 500 (gRPC: UNAVAILABLE)";
    NoShare = 807 Warning "a rule whose backendRefs have no weight" "its requests are answered with 500 (gRPC: UNAVAILABLE)";
    OpaquePort = 808 Error "a route at a port of which no requests are read" "the route does not apply there: connections pass as they are";
    // 09: a cluster; the severity of a finding may be another one.
    OldKubernetes = 901 Error "a Kubernetes that is too old" "sidecars cannot be started before the application, and webhooks cannot be bounded";
    Clock = 902 Error "clocks that differ" "certificates are not valid yet, or no more";
    NotAllowed = 903 Error "rights that are missing" "`heddle install | kubectl apply` fails";
    NoIstioKinds = 904 Warning "Istio's kinds that the cluster does not know" "routes of these kinds cannot be written";
    NoGatewayKinds = 905 Note "Gateway API's kinds that the cluster does not know" "HTTPRoutes and GRPCRoutes cannot be written";
    NotInstalled = 910 Note "a cluster without the mesh" "no pod is injected";
    NoPart = 911 Error "a part of the mesh that is missing" "what it does for the mesh is not done";
    PartNotReady = 912 Error "a part of the mesh that is not ready" "what it does for the mesh waits: sidecars keep what they have";
    Versions = 913 Warning "parts of several versions" "an upgrade may have stopped half-way";
    NotFollowed = 914 Error "a kind that the control plane cannot follow" "changes of such objects do not reach the mesh, and a replica of the control plane that starts does not become ready";
    NoBundle = 920 Error "a trust bundle that is missing" "pods of the mesh cannot start";
    NoWebhook = 921 Error "a webhook that is not configured" "pods are not injected, or routes are not checked when they are written";
    NoCaBundle = 922 Error "a webhook without caBundle" "the API server cannot call it";
    OldCaBundle = 923 Warning "a webhook whose caBundle is not the trust bundle" "the API server may refuse its certificate";
    WebhookFails = 924 Error "a webhook that the API server cannot use" "pods that ask for the mesh are not made until it can";
    NotCalled = 925 Error "a webhook that was not called" "pods that ask for the mesh get no sidecar";
    OldBundle = 926 Warning "namespaces whose trust bundle is missing or old" "new pods there cannot start, or do not trust new certificates";
    FormerWebhook = 927 Warning "a webhook configuration of a former name" "from the next root on the API server refuses the webhook under this name, and pods that ask for the mesh are not made";
    OldSidecars = 930 Warning "pods with a sidecar of another version" "they keep the old one until they are made anew";
    NoSidecar = 931 Warning "pods without a sidecar" "they are not in the mesh: STRICT servers refuse them, and nobody guards them";
}

impl Code {
    /// Whether it says only that something is not there, which may come later.
    pub fn may_mend_itself(self) -> bool {
        matches!(self, Self::NoService | Self::NoPort | Self::NoSubset)
    }

    /// Whether it is about one part of a route of Gateway API, the rest of which is in force.
    pub fn is_of_gateway_api(self) -> bool {
        self.number() / 100 == 8
    }

    /// Its number.
    pub fn number(self) -> u16 {
        self as u16
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HDL{:04}", self.number())
    }
}

impl FromStr for Code {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.trim();
        let digits = digits
            .strip_prefix("HDL")
            .or_else(|| digits.strip_prefix("hdl"))
            .unwrap_or(digits);
        let number: u16 = digits.parse().map_err(|_| ())?;
        let found = Self::ALL.iter().find(|code| code.number() == number);
        found.copied().ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_order_and_written_as_they_are_read() {
        assert!(Code::ALL.is_sorted_by(|a, b| a.number() < b.number()));
        for code in Code::ALL {
            assert_eq!(code.to_string().parse(), Ok(*code));
            assert!(!code.meaning().is_empty() && !code.consequence().is_empty());
        }
        assert_eq!("HDL0102".parse(), Ok(Code::NoService));
        assert_eq!("102".parse(), Ok(Code::NoService));
        assert_eq!("HDL9999".parse::<Code>(), Err(()));
        assert_eq!("".parse::<Code>(), Err(()));
    }
}
