//! Who makes room when the queue is full: pure.
//!
//! First come, first served is fair as long as there is room. When there is none, it gives each client a share of the answers as large as its
//! share of the requests, so that one which asks without measure takes them from all others. So a request that finds no
//! room takes the place of the newest one of whoever has the most waiting, if that client still has no less than the asker then:
//! shares become equal, and nobody gets less than what it asks for while somebody gets more (max-min fairness: Bertsekas and
//! Gallager, *Data Networks*, 6.5.2).
//!
//! A client is the address that a connection comes from: a library opens as many connections as it likes.

use std::{collections::HashMap, net::IpAddr};

/// A client.
pub(crate) type Client = Option<IpAddr>;

/// The place in the queue of the request that makes room for one of `asker` with so many `items`, if one does. What waits is given in
/// its order, by client and number of items.
pub(super) fn who_makes_room(
    waiting: impl DoubleEndedIterator<Item = (Client, usize)> + ExactSizeIterator + Clone,
    (asker, items): (Client, usize),
) -> Option<usize> {
    let mut shares: HashMap<Client, usize> = HashMap::new();
    for (client, items) in waiting.clone() {
        *shares.entry(client).or_default() += items;
    }
    let own_share = shares.get(&asker).copied().unwrap_or_default().saturating_add(items);
    // Of equal shares the smallest address, so that it does not depend on the order of a map.
    let (most, share) =
        shares.into_iter().max_by_key(|(client, share)| (*share, std::cmp::Reverse(*client)))?;
    let (place, (_, given)) = waiting.enumerate().rev().find(|(_, (client, _))| *client == most)?;
    (most != asker && given >= items && share.saturating_sub(given) >= own_share).then_some(place)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(name: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, name).into()
    }

    /// The place that is given up where each digit is a waiting request of that client, with one item.
    fn place(waiting: &str, asker: u8) -> Option<usize> {
        let waiting: Vec<_> = waiting.bytes().map(|name| (Some(address(name - b'0')), 1)).collect();
        who_makes_room(waiting.into_iter(), (Some(address(asker)), 1))
    }

    #[test]
    fn the_newest_request_of_who_has_the_most_makes_room() {
        assert_eq!(place("111111", 2), Some(5));
        assert_eq!(place("112111", 2), Some(5));
        assert_eq!(place("1211123", 3), Some(4));
    }

    #[test]
    fn nobody_makes_room_for_who_has_as_much() {
        assert_eq!(place("111111", 1), None);
        assert_eq!(place("112212", 2), None);
        assert_eq!(place("11122", 2), None, "it would be turned round");
        assert_eq!(place("", 1), None);
    }

    #[test]
    fn items_count_not_requests() {
        let waiting =
            [(Some(address(1)), 8), (Some(address(2)), 1), (Some(address(2)), 1), (Some(address(2)), 1)];
        assert_eq!(
            who_makes_room(waiting.into_iter(), (Some(address(3)), 1)),
            None,
            "its one request is all it has"
        );
        let waiting = [(Some(address(1)), 8), (Some(address(1)), 8), (Some(address(2)), 1)];
        assert_eq!(who_makes_room(waiting.into_iter(), (Some(address(2)), 4)), Some(1));
        assert_eq!(who_makes_room(waiting.into_iter(), (Some(address(2)), 16)), None);
    }

    #[test]
    fn clients_without_an_address_are_one() {
        assert_eq!(who_makes_room([(None, 1), (None, 1)].into_iter(), (None, 1)), None);
    }
}
