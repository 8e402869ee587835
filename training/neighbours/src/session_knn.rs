//! Session neighbours: what was met in the sessions that are like this one.

use std::{cell::RefCell, path::Path};

use endcap_features::KeyMap;
use endcap_proto::{EventTime, ItemKey};
use serde::{Deserialize, Serialize};

use crate::{
    CountingModel, Interaction, NeighboursError, Unit,
    file::{TensorFile, Tensors},
    lists::best,
};

/// How session neighbours are found and read. Scales are lengths over which a weight falls to 1/e; 0 leaves a weight out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionKnnConfig {
    /// What is a session.
    pub within: Unit,
    /// How many neighbours speak.
    pub neighbours: usize,
    /// Of each item the newest sessions that are looked at: time grows with it.
    pub sessions_per_item: usize,
    /// The newest items of a session, and of a history, that are read.
    pub length: u32,
    /// Of an item's weight in the history, in steps from its end (λ_spw).
    pub position_scale: f32,
    /// Of a session's weight, in days back from the newest one; in sessions where times are ordinal (λ_snh).
    pub age_scale: f32,
    /// Of an item's weight in a neighbour, in steps from the newest item that is shared (λ_inh).
    pub distance_scale: f32,
    /// Of a neighbour's weight, in steps from the history's end to the newest item that is shared (λ_ipw).
    pub match_scale: f32,
    /// Weight of an item's rarity: `1 + idf_weight · ln(sessions / sessions that have it)`.
    pub idf_weight: f32,
}

/// Session neighbours, "session kNN" where no scale is set and VSTAN with all of them:
///
/// ```text
/// similar(n) = Σ_{i in both} e^(−steps(i)/λ_spw) / √|n| · e^(−age(n)/λ_snh)
/// score(j)   = Σ_{the k most similar n, j in n} similar(n) · e^(−match(n)/λ_ipw) · e^(−distance(j, n)/λ_inh) · (1 + w·idf(j))
/// ```
///
/// Jannach and Ludewig, *When recurrent neural networks meet the neighborhood for session-based recommendation* (2017);
/// Garg et al., *Sequence and time aware neighborhood for session-based recommendations: STAN* (2019); Ludewig et al.,
/// *Empirical analysis of session-based recommendation algorithms* (2021).
#[derive(Debug, Clone, PartialEq)]
pub struct SessionKnn {
    config: SessionKnnConfig,
    items: Vec<ItemKey>,
    rows: KeyMap<ItemKey, u32>,
    /// Sessions, the newest first: session `s` is `members[starts[s]..starts[s + 1]]`, distinct items, oldest first.
    starts: Vec<u32>,
    members: Vec<u32>,
    /// Of each session, `e^(−age/λ_snh) / √|n|`.
    weights: Vec<f32>,
    /// Of each item the newest sessions that have it: `sessions[session_starts[i]..session_starts[i + 1]]`.
    session_starts: Vec<u32>,
    sessions: Vec<u32>,
    /// Of each item, `1 + w·idf`.
    rarity: Vec<f32>,
}

/// What a score needs to hold, emptied in time proportional to what was touched.
#[derive(Default)]
struct Scratch {
    /// Of each session: the sum of shared weights, and steps from the history's end to the newest shared item.
    sessions: Vec<(f32, u32)>,
    items: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Default for SessionKnnConfig {
    fn default() -> Self {
        Self {
            within: Unit::Session,
            neighbours: 500,
            sessions_per_item: 1000,
            length: 50,
            position_scale: 2.0,
            age_scale: 0.0,
            distance_scale: 2.0,
            match_scale: 1.5,
            idf_weight: 1.0,
        }
    }
}

/// A weight that falls to 1/e over `scale`; 1 where there is no scale.
fn fall(distance: f32, scale: f32) -> f32 {
    if scale > 0.0 { (-distance / scale).exp() } else { 1.0 }
}

impl SessionKnn {
    /// Remembers the sessions of all interactions before `until`. `ordinal`: times are places in a file, and a
    /// session's age is counted in sessions.
    ///
    /// Takes 8 bytes an interaction, and time in proportion to them.
    ///
    /// # Errors
    /// When there are more items or interactions than can be numbered.
    pub fn fit<S: AsRef<[Interaction]>>(
        sequences: impl IntoIterator<Item = S>,
        until: EventTime,
        ordinal: bool,
        config: &SessionKnnConfig,
    ) -> Result<Self, NeighboursError> {
        // Sessions as they come, with the time of their newest interaction.
        let mut found: Vec<(EventTime, Vec<ItemKey>)> = Vec::new();
        for sequence in sequences {
            let sequence = sequence.as_ref();
            let known = &sequence[..sequence.partition_point(|interaction| interaction.time < until)];
            let parts = known.chunk_by(|_, next| config.within == Unit::Visitor || !next.starts_session);
            for part in parts {
                let newest = part.last().map_or(EventTime::MIN, |interaction| interaction.time);
                found
                    .push((newest, distinct(part.iter().map(|interaction| interaction.item), config.length)));
            }
        }
        // Newest first; sessions of one instant in an order of their own, whatever order they came in.
        found.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let members: usize = found.iter().map(|(_, items)| items.len()).sum();
        if members > u32::MAX as usize {
            return Err(NeighboursError::TooLarge);
        }
        let mut items: Vec<ItemKey> = found.iter().flat_map(|(_, items)| items).copied().collect();
        items.sort_unstable();
        items.dedup();
        let rows: KeyMap<ItemKey, u32> = items.iter().zip(0..).map(|(&item, row)| (item, row)).collect();
        let newest = found.first().map_or(EventTime::MIN, |(time, _)| *time);
        let age = |place: usize, time: EventTime| match ordinal {
            true => place as f32,
            false => newest.millis_since(time) as f32 / 86_400_000.0,
        };
        let mut starts = vec![0];
        let (mut flat, mut weights) = (Vec::with_capacity(members), Vec::with_capacity(found.len()));
        for (place, (time, session)) in found.iter().enumerate() {
            flat.extend(session.iter().map(|item| rows[item]));
            starts.push(flat.len() as u32);
            weights.push(fall(age(place, *time), config.age_scale) / (session.len() as f32).sqrt());
        }
        Ok(Self::new(config.clone(), items, rows, starts, flat, weights))
    }

    fn new(
        config: SessionKnnConfig,
        items: Vec<ItemKey>,
        rows: KeyMap<ItemKey, u32>,
        starts: Vec<u32>,
        members: Vec<u32>,
        weights: Vec<f32>,
    ) -> Self {
        let mut holders = vec![0u32; items.len()];
        members.iter().for_each(|&row| holders[row as usize] += 1);
        let most = config.sessions_per_item.min(u32::MAX as usize) as u32;
        let mut session_starts = vec![0u32];
        session_starts.extend(holders.iter().scan(0u32, |end, &count| {
            *end += count.min(most);
            Some(*end)
        }));
        let mut free = session_starts.clone();
        let mut sessions = vec![0; session_starts.last().map_or(0, |&end| end as usize)];
        for session in 0..weights.len() {
            for &row in &members[starts[session] as usize..starts[session + 1] as usize] {
                let row = row as usize;
                if free[row] < session_starts[row + 1] {
                    sessions[free[row] as usize] = session as u32;
                    free[row] += 1;
                }
            }
        }
        let n = weights.len() as f32;
        let rarity = holders.iter().map(|&count| 1.0 + config.idf_weight * (n / count as f32).ln()).collect();
        Self { config, items, rows, starts, members, weights, session_starts, sessions, rarity }
    }

    /// How many sessions it remembers.
    pub fn sessions(&self) -> usize {
        self.weights.len()
    }

    fn members(&self, session: u32) -> &[u32] {
        &self.members[self.starts[session as usize] as usize..self.starts[session as usize + 1] as usize]
    }

    /// The neighbours of a history, in the order of [`best`]: session, similarity, steps to the newest shared item.
    fn neighbours(&self, history: &[u32], scratch: &mut Scratch) -> Vec<(u32, f32)> {
        let config = &self.config;
        scratch.sessions.resize(scratch.sessions.len().max(self.weights.len()), (0.0, 0));
        let mut touched = Vec::new();
        // The newest first, so that the first to share sets the match.
        for (steps, &row) in history.iter().rev().enumerate() {
            let weight = fall(steps as f32, config.position_scale);
            let range =
                self.session_starts[row as usize] as usize..self.session_starts[row as usize + 1] as usize;
            for &session in &self.sessions[range] {
                let (sum, first) = &mut scratch.sessions[session as usize];
                if *sum == 0.0 {
                    touched.push((session, 0.0));
                    *first = steps as u32;
                }
                *sum += weight.max(f32::MIN_POSITIVE);
            }
        }
        for (session, similar) in &mut touched {
            *similar = scratch.sessions[*session as usize].0 * self.weights[*session as usize];
        }
        // Of equally similar sessions the newer one; they are numbered so.
        best(&mut touched, config.neighbours, |session| ItemKey(session.into()));
        touched
    }
}

/// The newest `length` distinct items, oldest first; of an item met again the newest place counts.
fn distinct(items: impl DoubleEndedIterator<Item = ItemKey>, length: u32) -> Vec<ItemKey> {
    let mut kept: Vec<ItemKey> = Vec::new();
    for item in items.rev() {
        if kept.len() == length as usize {
            break;
        }
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept.reverse();
    kept
}

impl CountingModel for SessionKnn {
    const NAME: &'static str = "session_knn";

    fn items(&self) -> usize {
        self.items.len()
    }

    fn score(&self, history: &[ItemKey], k: usize) -> Vec<(ItemKey, f32)> {
        let newest = distinct(history.iter().copied(), self.config.length);
        let history: Vec<u32> = newest.iter().filter_map(|item| self.rows.get(item).copied()).collect();
        SCRATCH.with_borrow_mut(|scratch| {
            let neighbours = self.neighbours(&history, scratch);
            scratch.items.resize(scratch.items.len().max(self.items.len()), 0.0);
            let mut scored: Vec<(u32, f32)> = Vec::new();
            for &(session, similar) in &neighbours {
                let steps = scratch.sessions[session as usize].1 as usize;
                let members = self.members(session);
                let shared = history[history.len() - 1 - steps];
                let matched = members.iter().position(|&row| row == shared).unwrap_or_default();
                let weight = similar * fall(steps as f32, self.config.match_scale);
                for (place, &row) in members.iter().enumerate() {
                    let near = fall(place.abs_diff(matched) as f32, self.config.distance_scale);
                    let score = &mut scratch.items[row as usize];
                    if *score == 0.0 {
                        scored.push((row, 0.0));
                    }
                    *score += (weight * near * self.rarity[row as usize]).max(f32::MIN_POSITIVE);
                }
            }
            for (row, score) in &mut scored {
                *score = std::mem::take(&mut scratch.items[*row as usize]);
            }
            // Every session that was touched is emptied, neighbour or not.
            for &row in &history {
                let range = self.session_starts[row as usize] as usize
                    ..self.session_starts[row as usize + 1] as usize;
                self.sessions[range]
                    .iter()
                    .for_each(|&session| scratch.sessions[session as usize] = (0.0, 0));
            }
            best(&mut scored, k, |row| self.items[row as usize]);
            scored.into_iter().map(|(row, score)| (self.items[row as usize], score)).collect()
        })
    }

    fn save(&self, path: impl AsRef<Path>) -> Result<(), NeighboursError> {
        let config = &self.config;
        let within = u32::from(config.within == Unit::Visitor);
        let counts = [within, config.neighbours as u32, config.sessions_per_item as u32, config.length];
        let scales = [
            config.position_scale,
            config.age_scale,
            config.distance_scale,
            config.match_scale,
            config.idf_weight,
        ];
        Tensors::default()
            .with("items", self.items.iter().map(|item| item.0))
            .with("starts", self.starts.iter().copied())
            .with("members", self.members.iter().copied())
            .with("weights", self.weights.iter().copied())
            .with("counts", counts)
            .with("scales", scales)
            .save(path.as_ref(), Self::NAME)
    }

    fn load(path: impl AsRef<Path>) -> Result<Self, NeighboursError> {
        TensorFile::load(path.as_ref(), Self::NAME, |file| {
            let items = file.items()?;
            let starts = file.values::<u32>("starts")?;
            let members = file.values::<u32>("members")?;
            let bounds = (starts.first(), starts.last().map(|&end| end as usize));
            if bounds != (Some(&0), Some(members.len())) || starts.windows(2).any(|pair| pair[0] >= pair[1]) {
                return Err(file.broken("tensor starts must rise from 0 to the number of members"));
            }
            if members.iter().any(|&row| row as usize >= items.len()) {
                return Err(file.broken("tensor members names an item that is not there"));
            }
            let mut held = vec![false; items.len()];
            members.iter().for_each(|&row| held[row as usize] = true);
            if held.contains(&false) {
                return Err(file.broken("tensor members must name each item"));
            }
            let sessions = starts.windows(2).map(|pair| &members[pair[0] as usize..pair[1] as usize]);
            for session in sessions {
                let mut rows = session.to_vec();
                rows.sort_unstable();
                if rows.windows(2).any(|pair| pair[0] == pair[1]) {
                    return Err(file.broken("tensor members must name an item once a session"));
                }
            }
            let weights = file.weights("weights", starts.len() - 1)?;
            let (&[within, neighbours, sessions_per_item, length], scales) =
                (&file.values::<u32>("counts")?[..], file.weights("scales", 5)?)
            else {
                return Err(file.broken("tensor counts must hold 4 numbers"));
            };
            let config = SessionKnnConfig {
                within: if within == 0 { Unit::Session } else { Unit::Visitor },
                neighbours: neighbours as usize,
                sessions_per_item: sessions_per_item as usize,
                length,
                position_scale: scales[0],
                age_scale: scales[1],
                distance_scale: scales[2],
                match_scale: scales[3],
                idf_weight: scales[4],
            };
            let rows = items.iter().zip(0..).map(|(&item, row)| (item, row)).collect();
            Ok(Self::new(config, items, rows, starts, members, weights))
        })
    }
}
