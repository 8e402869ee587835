//! Forgetting a shopper: their history, the links to them, and what of them is still on disk.
//!
//! ```text
//! erasures ──► links of the accounts, in one walk ──► visitors to forget ──► operations ──► journal
//!                                                                                └──► a snapshot without them; what came before goes
//! ```
//!
//! What a shopper added to the counters of items stays counted: a counter is a sum over everybody.

use std::collections::{BTreeMap, BTreeSet};

use endcap_clickstream::{Erased, Shopper};
use endcap_features::{LoginLinks, UserState};
use endcap_proto::{UserKey, VisitorKey};

use super::{
    StateWriter, StoreError,
    core::{Unreadable, session_last},
    entry::STAMP,
    operation::{Operation, write_unlink_visitor},
    session_key,
};
use crate::erasures::{Erasure, Gone};

impl StateWriter {
    /// Forgets shoppers, each up to their instant, and for an account the visitors who were seen logged in to it;
    /// says of each what there was. Where there was anything, a snapshot is made with the next flush, so that nothing
    /// of it is left on disk ([`Self::is_forgotten_for_good`]). Doing it again changes nothing.
    ///
    /// # Errors
    /// When what is stored of an account cannot be read.
    pub fn erase(&mut self, erasures: &[Erasure]) -> Result<Vec<Gone>, StoreError> {
        let mut erased: Erased = erasures.iter().map(|of| (of.shopper, of.before)).collect();
        if erased.is_empty() {
            return Ok(Vec::new());
        }
        let linked = self.linked(&erased)?;
        for (&user, visitors) in &linked {
            let before = erased.before(Shopper::User(user)).unwrap_or_default();
            for &visitor in visitors {
                erased.insert(Shopper::Visitor(visitor), before);
            }
        }
        let mut all = Vec::with_capacity(erasures.len());
        for Erasure { shopper, .. } in erasures {
            let mut gone = Gone::default();
            match *shopper {
                Shopper::Visitor(visitor) => self.forget_visitor(visitor, &erased, &mut gone)?,
                Shopper::User(user) => {
                    for &visitor in linked.get(&user).into_iter().flatten() {
                        self.forget_visitor(visitor, &erased, &mut gone)?;
                        gone.linked.push(visitor.0);
                    }
                }
            }
            all.push(gone);
        }
        for (user, visitor) in self.old_links(&erased)? {
            write_unlink_visitor(self.frame.operations().0, user, visitor);
            self.step(&Operation::UnlinkVisitor { user, visitor })?;
            self.wants_to_forget();
        }
        Ok(all)
    }

    /// Whether nothing of what was erased is left in the files of the state.
    pub fn is_forgotten_for_good(&self) -> bool {
        self.forgotten_by <= self.store.0.snapshot_number.load(std::sync::atomic::Ordering::Acquire)
    }

    /// The visitors who were seen logged in to the accounts that are erased.
    fn linked(&self, erased: &Erased) -> Result<BTreeMap<UserKey, BTreeSet<VisitorKey>>, StoreError> {
        let mut linked = BTreeMap::<_, BTreeSet<_>>::new();
        if !erased.iter().any(|(shopper, _)| matches!(shopper, Shopper::User(_))) {
            return Ok(linked);
        }
        let is_erased = |user| erased.before(Shopper::User(user)).is_some();
        self.each_account(|user, links| {
            if is_erased(user) {
                linked.insert(user, links.visitors().iter().map(|&(visitor, _)| visitor).collect());
            }
        })?;
        // An account names its newest visitors alone; others know whose they are.
        self.store.0.tables.shoppers.for_each(|key, bytes| {
            let user = bytes.get(STAMP..).and_then(UserState::user_of);
            if let Some((user, _)) = user.filter(|(user, _)| is_erased(*user)) {
                linked.entry(user).or_default().insert(VisitorKey(key));
            }
        });
        Ok(linked)
    }

    /// Links that were last seen before one of the two was erased.
    fn old_links(&self, erased: &Erased) -> Result<Vec<(UserKey, VisitorKey)>, StoreError> {
        let mut old = Vec::new();
        self.each_account(|user, links| {
            let gone =
                links.visitors().iter().filter(|(visitor, time)| erased.covers(*visitor, Some(user), *time));
            old.extend(gone.map(|&(visitor, _)| (user, visitor)));
        })?;
        Ok(old)
    }

    fn each_account(&self, mut each: impl FnMut(UserKey, LoginLinks)) -> Result<(), StoreError> {
        let mut unreadable = None;
        self.store.0.tables.links.for_each(|key, bytes| match LoginLinks::decode(bytes) {
            Ok(links) => each(UserKey(key), links),
            Err(error) => unreadable = Some(Unreadable { kind: "links of user", key, error }),
        });
        unreadable.map_or(Ok(()), |unreadable| Err(self.store.0.corrupt(unreadable)))
    }

    fn forget_visitor(
        &mut self,
        visitor: VisitorKey,
        erased: &Erased,
        gone: &mut Gone,
    ) -> Result<(), StoreError> {
        let Some(before) = erased.before(Shopper::Visitor(visitor)) else { return Ok(()) };
        let tables = &self.store.0.tables;
        let entries = tables.shoppers.with(visitor.0, |bytes| {
            let Ok(state) = UserState::decode_added(bytes.get(STAMP..).unwrap_or_default()) else {
                return Some(0); // what cannot be read goes as well
            };
            let mut left = state.clone();
            left.forget_before(before);
            (left != state).then(|| state.history().len() - left.history().len())
        });
        let session = session_last(tables, session_key(visitor, None)).is_some_and(|last| last < before);
        let entries = entries.flatten();
        if entries.is_none() && !session {
            return Ok(());
        }
        gone.visitors += 1;
        gone.entries += entries.unwrap_or_default() as u64;
        self.forget(visitor, before)?;
        self.wants_to_forget();
        Ok(())
    }

    /// The files so far hold what was forgotten just now.
    fn wants_to_forget(&mut self) {
        self.forgotten_by = self.journal + 1;
    }
}
