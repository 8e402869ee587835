//! Forgetting a shopper in Valkey, where several writers may be at them.
//!
//! ```text
//! account, {u}v ──► visitors ──┐
//! erased visitors ─────────────┴──► {v}u ──► accounts without them ──► their copies ──► sessions, visitors ──► {v}u, {u}v
//! ```
//!
//! Every consumer forgets whom it hears of, once it passes over their events: the last of them to do so finds what the
//! others wrote meanwhile. A visitor's own value goes last, so that what was begun and not finished is seen by it.
//!
//! Which accounts a visitor has ever logged in to, and which visitors an account has ever had, is noted in two keys
//! of their own ([`Shared::note_logins`]): an account names its newest visitors alone.

use std::collections::{BTreeMap, BTreeSet};

use endcap_clickstream::{Erased, Shopper as Named};
use endcap_proto::{EventTime, UserKey, VisitorKey};
use redis::Cmd;

use super::{
    Shared,
    values::{self, Account, Session, Shopper, Versioned, next_version},
    writer::{ATTEMPTS, Write},
};
use crate::{
    StoreError,
    erasures::{Erasure, Gone},
    store::session_key,
};

/// Visitors, each with the instant up to which they are forgotten.
type Visitors = BTreeMap<VisitorKey, EventTime>;

/// Commands side by side in one question.
const COMMANDS: usize = 512;

impl Shared {
    /// Forgets shoppers; says of each what there was, and who is forgotten in all.
    pub(super) async fn erase(&self, erasures: &[Erasure]) -> Result<(Vec<Gone>, Erased), StoreError> {
        let mut erased: Erased = erasures.iter().map(|of| (of.shopper, of.before)).collect();
        let linked = self.linked(&erased).await?;
        for (&user, visitors) in &linked {
            let before = erased.before(Named::User(user)).unwrap_or_default();
            for &visitor in visitors {
                erased.insert(Named::Visitor(visitor), before);
            }
        }
        let visitors: Visitors = erased
            .iter()
            .filter_map(|(shopper, before)| match shopper {
                Named::Visitor(visitor) => Some((visitor, before)),
                Named::User(_) => None,
            })
            .collect();
        let mut accounts: BTreeMap<UserKey, Visitors> = BTreeMap::new();
        for (&user, of) in &linked {
            accounts.entry(user).or_default().extend(of.iter().map(|of| (*of, visitors[of])));
        }
        for (visitor, users) in self.users_of(&visitors).await? {
            for user in users {
                accounts.entry(user).or_default().insert(visitor, visitors[&visitor]);
            }
        }
        for (&user, of) in &accounts {
            self.rewrite_account(user, of).await?;
        }
        let mut entries = BTreeMap::new();
        for (&visitor, &before) in &visitors {
            entries.extend(self.rewrite_visitor(visitor, before).await?.map(|gone| (visitor, gone)));
        }
        self.forget_logins(&accounts).await?;
        let all = erasures.iter().map(|Erasure { shopper, .. }| {
            let mut gone = Gone::default();
            let concerned: Vec<VisitorKey> = match shopper {
                Named::Visitor(visitor) => vec![*visitor],
                Named::User(user) => {
                    let of: Vec<_> = linked.get(user).into_iter().flatten().copied().collect();
                    gone.linked = of.iter().map(|visitor| visitor.0).collect();
                    of
                }
            };
            for visitor in concerned {
                if let Some(of) = entries.get(&visitor) {
                    gone.visitors += 1;
                    gone.entries += of;
                }
            }
            gone
        });
        Ok((all.collect(), erased))
    }

    /// Notes who logs in to what for the first time, before anything else is written of it.
    pub(super) async fn note_logins(&self, logins: &[(VisitorKey, UserKey)]) -> Result<(), StoreError> {
        let commands = logins.iter().flat_map(|&(visitor, user)| {
            let (users, devices) = (self.keys.users(visitor), self.keys.devices(user));
            let add =
                |key: &[u8], member: u64| redis::cmd("SADD").arg(key).arg(&member.to_le_bytes()).to_owned();
            let expire = |key: &[u8]| redis::cmd("PEXPIRE").arg(key).arg(self.ttl_ms).to_owned();
            [add(&users, user.0), expire(&users), add(&devices, visitor.0), expire(&devices)]
        });
        self.many(commands.collect()).await.map(drop)
    }

    /// The visitors who were seen logged in to the accounts that are erased.
    async fn linked(&self, erased: &Erased) -> Result<BTreeMap<UserKey, BTreeSet<VisitorKey>>, StoreError> {
        let users: Vec<UserKey> = erased
            .iter()
            .filter_map(|(shopper, _)| match shopper {
                Named::User(user) => Some(user),
                Named::Visitor(_) => None,
            })
            .collect();
        let noted = users.iter().map(|&user| redis::cmd("SMEMBERS").arg(self.keys.devices(user)).to_owned());
        let noted = self.many(noted.collect()).await?;
        let keys: Vec<_> = users.iter().map(|&user| self.keys.account(user)).collect();
        let accounts = self.values(keys.clone()).await?;
        let mut linked = BTreeMap::<UserKey, BTreeSet<VisitorKey>>::new();
        for (((&user, key), noted), account) in users.iter().zip(&keys).zip(noted).zip(accounts) {
            let mut of: BTreeSet<_> = self.numbers(noted)?.into_iter().map(VisitorKey).collect();
            if let Some(bytes) = account {
                let account = self.decode::<Account>(key, &bytes)?.entry;
                of.extend(account.links.visitors().iter().map(|&(visitor, _)| visitor));
            }
            if !of.is_empty() {
                linked.insert(user, of);
            }
        }
        Ok(linked)
    }

    /// The accounts that hold something of visitors.
    async fn users_of(
        &self,
        visitors: &Visitors,
    ) -> Result<Vec<(VisitorKey, BTreeSet<UserKey>)>, StoreError> {
        let noted =
            visitors.keys().map(|&visitor| redis::cmd("SMEMBERS").arg(self.keys.users(visitor)).to_owned());
        let noted = self.many(noted.collect()).await?;
        let keys: Vec<_> = visitors.keys().map(|&visitor| self.keys.shopper(visitor)).collect();
        let shoppers = self.values(keys.clone()).await?;
        let mut all = Vec::new();
        for (((&visitor, key), noted), shopper) in visitors.keys().zip(&keys).zip(noted).zip(shoppers) {
            let mut users: BTreeSet<_> = self.numbers(noted)?.into_iter().map(UserKey).collect();
            if let Some(bytes) = shopper {
                users.extend(self.decode::<Shopper>(key, &bytes)?.entry.state.user());
            }
            if !users.is_empty() {
                all.push((visitor, users));
            }
        }
        Ok(all)
    }

    /// Takes visitors out of an account, and the account out of their copies.
    async fn rewrite_account(&self, user: UserKey, visitors: &Visitors) -> Result<(), StoreError> {
        let key = self.keys.account(user);
        for _ in 0..ATTEMPTS {
            let Some(bytes) = self.values(vec![key.clone()]).await?.pop().flatten() else { return Ok(()) };
            let Versioned { version, entry: mut account } = self.decode::<Account>(&key, &bytes)?;
            let mut changed = false;
            for (&visitor, &before) in visitors {
                changed |= account.forget(visitor, before).map_err(|reason| self.corrupt(&key, reason))?;
            }
            if !changed {
                return Ok(());
            }
            let value = match account.links.visitors() {
                [] => Vec::new(),
                _ => values::encode(next_version(Some(version)), &account),
            };
            let write = Write {
                key: key.clone(),
                expected: Some(version),
                value: value.clone(),
                ttl_ms: self.ttl_ms,
            };
            if !self.replace(&[write]).await?.is_empty() {
                continue;
            }
            // An account of one device needs no copy, and one that is gone has none.
            let remaining: Vec<_> =
                account.devices.keys().copied().filter(|_| account.devices.len() > 1).collect();
            let mut without: BTreeSet<VisitorKey> = visitors.keys().copied().collect();
            without.extend(account.devices.keys().copied());
            without.retain(|visitor| !remaining.contains(visitor));
            let value = std::sync::Arc::new(value);
            let renewed = remaining.iter().map(|&visitor| (self.keys.copy(visitor), value.clone()));
            self.renew(renewed.collect()).await?;
            let gone =
                without.iter().map(|&visitor| redis::cmd("DEL").arg(self.keys.copy(visitor)).to_owned());
            return self.many(gone.collect()).await.map(drop);
        }
        Err(self.contended())
    }

    /// Forgets what a visitor did, in the session without a name too; how many entries of the history that was,
    /// where there was anything.
    async fn rewrite_visitor(
        &self,
        visitor: VisitorKey,
        before: EventTime,
    ) -> Result<Option<u64>, StoreError> {
        let keys = [self.keys.shopper(visitor), self.keys.session(visitor, session_key(visitor, None))];
        for _ in 0..ATTEMPTS {
            let mut held = self.value_pair(&keys).await?;
            let (mut writes, mut gone) = (Vec::new(), None);
            if let Some(bytes) = held[1].take() {
                let Versioned { version, entry } = self.decode::<Session>(&keys[1], &bytes)?;
                if entry.last() < before {
                    writes.push(Write {
                        key: keys[1].clone(),
                        expected: Some(version),
                        value: Vec::new(),
                        ttl_ms: 1,
                    });
                    gone = Some(0);
                }
            }
            if let Some(bytes) = held[0].take() {
                let Versioned { version, entry: mut shopper } = self.decode::<Shopper>(&keys[0], &bytes)?;
                let whole = shopper.state.clone();
                shopper.state.forget_before(before);
                if shopper.state != whole {
                    let value = match shopper.state.is_empty() {
                        true => Vec::new(),
                        false => values::encode(next_version(Some(version)), &shopper),
                    };
                    writes.push(Write {
                        key: keys[0].clone(),
                        expected: Some(version),
                        value,
                        ttl_ms: self.ttl_ms,
                    });
                    gone = Some((whole.history().len() - shopper.state.history().len()) as u64);
                }
            }
            if self.replace(&writes).await?.is_empty() {
                return Ok(gone);
            }
        }
        Err(self.contended())
    }

    /// Takes the notes of logins away that are done with.
    async fn forget_logins(&self, accounts: &BTreeMap<UserKey, Visitors>) -> Result<(), StoreError> {
        let mut commands = Vec::new();
        for (user, visitors) in accounts {
            let key = self.keys.account(*user);
            let left = match self.values(vec![key.clone()]).await?.pop().flatten() {
                Some(bytes) => self.decode::<Account>(&key, &bytes)?.entry.links,
                None => Default::default(),
            };
            for visitor in visitors.keys() {
                if left.visitors().iter().any(|(linked, _)| linked == visitor) {
                    continue; // logged in since
                }
                commands.push(
                    redis::cmd("SREM").arg(self.keys.users(*visitor)).arg(&user.0.to_le_bytes()).to_owned(),
                );
                commands.push(
                    redis::cmd("SREM").arg(self.keys.devices(*user)).arg(&visitor.0.to_le_bytes()).to_owned(),
                );
            }
        }
        self.many(commands).await.map(drop)
    }

    async fn value_pair(&self, keys: &[Vec<u8>; 2]) -> Result<[Option<Vec<u8>>; 2], StoreError> {
        self.value(self.one(super::keys::mget(keys)).await?)
    }

    /// Answers to many commands, in order, some at a time.
    async fn many(&self, commands: Vec<Cmd>) -> Result<Vec<redis::Value>, StoreError> {
        let mut answers = Vec::with_capacity(commands.len());
        for chunk in commands.chunks(COMMANDS) {
            answers.extend(self.all(chunk.to_vec()).await?);
        }
        Ok(answers)
    }

    /// Stable keys, as they are kept in sets.
    fn numbers(&self, answer: redis::Value) -> Result<Vec<u64>, StoreError> {
        let members: Vec<Vec<u8>> = self.value(answer)?;
        Ok(members.into_iter().filter_map(|bytes| bytes.try_into().ok().map(u64::from_le_bytes)).collect())
    }
}
