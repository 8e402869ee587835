//! An evaluation: every system ranks the catalogue for every question of a held-out part.
//!
//! ```text
//! Split ──questions──► asks, a thousand at a time ──► each System ──► ranks, first places ──► Tally ──► Report
//!   └────moments (state, counters)─┘                   (in parallel)
//! ```

use endcap_clickstream::Dataset;
use endcap_recommend::Model;
use rayon::prelude::*;

use crate::{
    Ask, Baselines, Bootstrap, Catalogue, Contest, EvaluationError, HeldOut, Moment, Moments, Question,
    Ranking, Report, SeenItems, Split, System, Ties, TowersExact, TowersIndex, WholeFunnel,
    tally::{Case, Tally},
};

/// How cases are made and judged.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// Which part is asked about.
    pub part: HeldOut,
    /// What is done with seen items.
    pub seen: SeenItems,
    /// Who goes first among items of one score.
    pub ties: Ties,
    /// Cut-offs of the metrics.
    pub cutoffs: Vec<u32>,
    /// At most so many questions, drawn evenly with `seed`.
    pub max_questions: Option<usize>,
    /// Seed of the draw and of the intervals.
    pub seed: u64,
    /// Only items that were hidden from training are ranked and asked for.
    pub among_hidden: bool,
}

/// A model that is evaluated.
#[derive(Clone, Copy)]
pub struct Contender<'a> {
    /// What it is called where there are several; empty where there is one.
    pub label: &'a str,
    /// The model.
    pub model: &'a Model,
    /// Whether the whole funnel is asked too, beside the towers.
    pub funnel: bool,
}

/// Questions of a chunk, with what the funnels said.
#[derive(Default)]
struct Chunk<'a> {
    asks: Vec<Ask<'a>>,
    funnels: Vec<Vec<Ranking>>,
}

/// Questions that are held at a time, and those that one thread takes.
const CHUNK: usize = 1024;
const TASK: usize = 128;

impl Evaluation {
    /// Of a split, as its protocol is published: the test, seen items as that protocol treats them, ties against us.
    pub fn of(split: &Split) -> Self {
        Self {
            part: HeldOut::Test,
            seen: split.protocol().seen_items(),
            ties: Ties::Against,
            cutoffs: vec![10, 20],
            max_questions: None,
            seed: 1,
            among_hidden: false,
        }
    }

    /// Asks baselines, fitted on what the split lets be learnt, and contenders about every question.
    ///
    /// # Errors
    /// When there are no questions, when a stage fails, or when something cannot be read.
    pub fn run(
        &self,
        split: &Split,
        dataset: &Dataset,
        baselines: &Baselines,
        contenders: &[Contender<'_>],
    ) -> Result<Report, EvaluationError> {
        let catalogue = Catalogue::new(split.catalogue());
        let mut report = self.rank(split, dataset, &catalogue, baselines.systems(&catalogue), contenders)?;
        report.notes = baselines.notes().to_vec();
        Ok(report)
    }

    /// Asks any systems, and contenders, which are compared with each of them.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn rank<'a>(
        &self,
        split: &Split,
        dataset: &Dataset,
        catalogue: &'a Catalogue,
        mut systems: Vec<Box<dyn System + 'a>>,
        contenders: &[Contender<'a>],
    ) -> Result<Report, EvaluationError> {
        let mut contests = Vec::new();
        let compared = systems.len();
        let named = |label: &str, what: &str| match label {
            "" => what.to_owned(),
            label => format!("{label}: {what}"),
        };
        for contender in contenders {
            let model = contender.model;
            contests.extend((0..compared).map(|baseline| Contest { system: systems.len(), baseline }));
            systems.push(Box::new(TowersExact::new(
                named(contender.label, "towers (exact)"),
                model,
                catalogue,
            )));
            systems.push(Box::new(TowersIndex::new(
                named(contender.label, "towers (index)"),
                model,
                catalogue,
            )));
        }
        let funnels: Vec<WholeFunnel<'_>> = contenders
            .iter()
            .filter(|contender| contender.funnel)
            .map(|contender| WholeFunnel::new(named(contender.label, "funnel"), contender.model, catalogue))
            .collect();
        for funnel in 0..funnels.len() {
            let system = systems.len() + funnel;
            contests.extend((0..compared).map(|baseline| Contest { system, baseline }));
        }
        if let [_, _] = contenders {
            // The first against the second, row by row.
            contests
                .extend((0..2).map(|row| Contest { system: compared + row, baseline: compared + 2 + row }));
            if let [_, _] = &funnels[..] {
                contests.push(Contest { system: systems.len(), baseline: systems.len() + 1 });
            }
        }
        let names = systems.iter().map(|system| system.name().to_owned());
        let names: Vec<String> = names.chain(funnels.iter().map(|funnel| funnel.name.clone())).collect();

        let counts = split.counts(self.part);
        let mut tally = Tally::new(catalogue, &counts, names.len(), &self.cutoffs);
        let mut questions = split.questions(self.part);
        if let Some(most) = self.max_questions {
            questions = questions.at_most(most, self.seed);
        }
        let top = self.cutoffs.iter().max().copied().unwrap_or(1) as usize;
        let only = self.among_hidden.then(|| split.hidden());
        let mut chunk = Chunk::default();
        let mut flush = |chunk: &mut Chunk<'_>| -> Result<(), EvaluationError> {
            let asks = &chunk.asks;
            for (number, system) in systems.iter().enumerate() {
                let ranked = asks.par_chunks(TASK).map(|asks| system.rank(asks, top, self.ties));
                let ranked: Vec<Vec<Ranking>> = ranked.collect::<Result<_, _>>()?;
                tally.add(number, ranked.iter().flatten());
            }
            for (number, ranked) in chunk.funnels.iter().enumerate() {
                tally.add(systems.len() + number, ranked);
            }
            for ask in asks {
                tally.asked(&case(ask, catalogue, split));
            }
            chunk.asks.clear();
            chunk.funnels.iter_mut().for_each(Vec::clear);
            Ok(())
        };
        chunk.funnels = vec![Vec::new(); funnels.len()];
        if contenders.is_empty() {
            for question in questions.iter() {
                chunk.asks.extend(catalogue.ask(question, self.seen, only));
                if chunk.asks.len() == CHUNK {
                    flush(&mut chunk)?;
                }
            }
        } else {
            let mut waiting = questions.iter().peekable();
            Moments::of(split, self.part, dataset)?.run(|moment| {
                // Moments and questions come in one order; not every moment asks.
                let Some(question) = waiting.next_if(|question| is_of(question, moment)) else {
                    return Ok(());
                };
                let Some(mut ask) = catalogue.ask(question, self.seen, only) else { return Ok(()) };
                ask.state = moment.state.clone();
                for (funnel, ranked) in funnels.iter().zip(&mut chunk.funnels) {
                    let view = funnel.model.view(moment.state, moment.as_of);
                    ranked.push(funnel.rank(moment, &view, &ask.wanted, top, self.ties));
                }
                chunk.asks.push(ask);
                if chunk.asks.len() == CHUNK { flush(&mut chunk) } else { Ok(()) }
            })?;
            if let Some(question) = waiting.next() {
                let reason =
                    format!("the question of {} at {} was not met", question.visitor.0, question.as_of);
                return Err(EvaluationError::System { system: "replay".to_owned(), reason });
            }
        }
        flush(&mut chunk)?;
        let bootstrap = Bootstrap { seed: self.seed, ..Bootstrap::default() };
        let groups = tally.groups(split, &names, &contests, &bootstrap, self.among_hidden);
        if groups.is_empty() {
            let (path, part, protocol) = (split.dir().clone(), self.part, split.protocol());
            return Err(EvaluationError::NoCases { path, part, protocol });
        }
        let versions: Vec<&str> = contenders.iter().map(|contender| contender.model.version()).collect();
        Ok(Report {
            protocol: self.describe(split),
            bundles: versions.into_iter().map(str::to_owned).collect(),
            source: split.source().to_owned(),
            catalogue: catalogue.len(),
            ties: self.ties,
            seen: self.seen,
            bootstrap: (bootstrap.seed, bootstrap.draws),
            notes: Vec::new(),
            groups,
        })
    }

    fn describe(&self, split: &Split) -> String {
        let cut = split.cut(self.part).map(|cut| format!(", cut at {cut}")).unwrap_or_default();
        let part = if self.part == HeldOut::Test { "" } else { ", validation" };
        format!("{}{part}{cut}", split.protocol())
    }
}

fn is_of(question: &Question<'_>, moment: &Moment<'_>) -> bool {
    question.visitor == moment.visitor && question.as_of == moment.as_of
}

fn case(ask: &Ask<'_>, catalogue: &Catalogue, split: &Split) -> Case {
    let is_hidden =
        |row: &Option<u32>| row.is_some_and(|row| split.hidden().contains(&catalogue.keys()[row as usize]));
    Case {
        user: ask.question.user,
        targets: ask.wanted.targets.clone(),
        hidden: ask.wanted.targets.iter().map(is_hidden).collect(),
        ranked: ask.ranked(catalogue),
        history: !ask.history.is_empty(),
        is_set: split.protocol().targets_are_a_set(),
    }
}
