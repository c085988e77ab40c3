//! A hash map that is cheap to copy and cheap to change after: 256 shared shards, of which a change
//! copies only its own, and only while an older copy is alive. Values should be cheap to
//! clone (an `Arc`, a name).

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    sync::Arc,
};

/// So many that the copy of one shard of 100,000 entries takes some 10 µs.
const SHARDS: usize = 256;

pub(super) struct ShardedMap<K, V> {
    hasher: RandomState,
    shards: Box<[Arc<HashMap<K, V, RandomState>>]>,
    len: usize,
}

impl<K, V> Default for ShardedMap<K, V> {
    fn default() -> Self {
        let empty = Arc::new(HashMap::default());
        Self {
            hasher: RandomState::new(),
            shards: vec![empty; SHARDS].into(),
            len: 0,
        }
    }
}

impl<K, V> Clone for ShardedMap<K, V> {
    fn clone(&self) -> Self {
        Self {
            hasher: self.hasher.clone(),
            shards: self.shards.clone(),
            len: self.len,
        }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> ShardedMap<K, V> {
    fn index<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        // SHARDS is far below u64's range, so the remainder fits.
        (self.hasher.hash_one(key) % SHARDS as u64) as usize
    }

    pub(super) fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shards[self.index(key)].get(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let index = self.index(&key);
        let old = Arc::make_mut(&mut self.shards[index]).insert(key, value);
        self.len += usize::from(old.is_none());
        old
    }

    pub(super) fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let index = self.index(key);
        if !self.shards[index].contains_key(key) {
            return None;
        }
        let old = Arc::make_mut(&mut self.shards[index]).remove(key);
        self.len -= usize::from(old.is_some());
        old
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

/// A set of names, sorted. One that nobody else holds is changed in its place, so that a batch of many for one
/// key copies it once.
pub(super) type Names<T> = Arc<Vec<T>>;

impl<K: Hash + Eq + Clone, T: Ord + Clone> ShardedMap<K, Names<T>> {
    pub(super) fn add(&mut self, key: K, item: T) {
        let place = match self.get(&key).map(|names| names.binary_search(&item)) {
            Some(Ok(_)) => return,
            Some(Err(place)) => place,
            None => {
                self.insert(key, Arc::new(vec![item]));
                return;
            }
        };
        if let Some(names) = self.get_mut(&key) {
            // Most sets have one name or two.
            if names.len() < 4 {
                names.reserve_exact(1);
            }
            names.insert(place, item);
        }
    }

    pub(super) fn take(&mut self, key: &K, item: &T) {
        let Some((Ok(place), len)) = self
            .get(key)
            .map(|names| (names.binary_search(item), names.len()))
        else {
            return;
        };
        if len == 1 {
            self.remove(key);
        } else if let Some(names) = self.get_mut(key) {
            names.remove(place);
        }
    }

    fn get_mut(&mut self, key: &K) -> Option<&mut Vec<T>> {
        let index = self.index(key);
        let names = Arc::make_mut(&mut self.shards[index]).get_mut(key);
        names.map(Arc::make_mut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_does_not_see_later_changes() {
        let mut map = ShardedMap::default();
        for i in 0..1000 {
            map.insert(i, i);
        }
        let copy = map.clone();
        map.insert(5, 50);
        map.remove(&6);
        assert_eq!(
            (map.get(&5), map.get(&6), map.len()),
            (Some(&50), None, 999)
        );
        assert_eq!(
            (copy.get(&5), copy.get(&6), copy.len()),
            (Some(&5), Some(&6), 1000)
        );
        assert_eq!(copy.iter().count(), 1000);
        let shared = map
            .shards
            .iter()
            .zip(&copy.shards)
            .filter(|(a, b)| Arc::ptr_eq(a, b))
            .count();
        assert!(shared >= SHARDS - 2, "{shared}");
    }

    #[test]
    fn sets_stay_sorted_and_vanish_when_empty() {
        let mut map: ShardedMap<u8, Names<u8>> = ShardedMap::default();
        for item in [3, 1, 2, 3] {
            map.add(0, item);
        }
        assert_eq!(map.get(&0).map(|set| set.to_vec()), Some(vec![1, 2, 3]));
        for item in [1, 2, 3, 4] {
            map.take(&0, &item);
        }
        assert!(map.get(&0).is_none());
    }
}
