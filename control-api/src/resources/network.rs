//! A range of IP addresses: "10.0.0.0/8".

use std::net::IpAddr;

/// A range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network {
    /// Its first address.
    pub first: IpAddr,
    /// Bits that all of it share.
    pub length: u8,
}

impl Network {
    /// Reads an address with or without a length. None: it is none, or says more bits than it shares.
    pub fn parse(text: &str) -> Option<Self> {
        let (ip, length) = match text.split_once('/') {
            Some((ip, length)) => (ip, Some(length.parse().ok()?)),
            None => (text, None),
        };
        let first: IpAddr = ip.parse().ok()?;
        let whole = if first.is_ipv4() { 32 } else { 128 };
        let length = length.unwrap_or(whole);
        let network = Self { first, length };
        (length <= whole && bits(first) & network.mask() == bits(first)).then_some(network)
    }

    /// Its address, if it is one alone.
    pub fn single(self) -> Option<IpAddr> {
        let whole = if self.first.is_ipv4() { 32 } else { 128 };
        (self.length == whole).then_some(self.first)
    }

    /// Whether an address is in it.
    pub fn holds(self, ip: IpAddr) -> bool {
        self.first.is_ipv4() == ip.is_ipv4() && bits(ip) & self.mask() == bits(self.first)
    }

    /// Of the address' bits, which stand at the high end.
    fn mask(self) -> u128 {
        match self.length {
            0 => 0,
            length => u128::MAX << (128 - u32::from(length)),
        }
    }
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)) << 96,
        IpAddr::V6(ip) => ip.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_shares_their_bits() {
        let holds = |network: &str, ip: &str| {
            let ip = ip.parse().expect("an IP");
            Network::parse(network).map(|network| network.holds(ip))
        };
        for (network, ip, held) in [
            ("10.0.0.0/8", "10.255.0.1", Some(true)),
            ("10.0.0.0/8", "11.0.0.0", Some(false)),
            ("10.0.0.1", "10.0.0.1", Some(true)),
            ("10.0.0.1/32", "10.0.0.2", Some(false)),
            ("0.0.0.0/0", "1.2.3.4", Some(true)),
            ("0.0.0.0/0", "::1", Some(false)),
            ("2001:db8::/32", "2001:db8:1::", Some(true)),
            ("::/0", "::1", Some(true)),
            ("10.0.0.1/8", "10.0.0.1", None),
            ("10.0.0.0/33", "10.0.0.1", None),
            ("10.0.0.0/", "10.0.0.1", None),
            ("10.0.0/8", "10.0.0.1", None),
        ] {
            assert_eq!(holds(network, ip), held, "{network} {ip}");
        }
    }
}
