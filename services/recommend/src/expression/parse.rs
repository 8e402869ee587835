//! From a text to a typed predicate: winnow's parsers over the text with positions, types checked as columns are met.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    ops::{Bound, Range},
};

use endcap_proto::EventTime;
use winnow::{
    Parser,
    combinator::{not, opt, peek, terminated},
    error::ParserError,
    stream::{LocatingSlice, Location, Stateful, Stream},
    token::{any, one_of, take_while},
};

use super::{
    Predicate,
    column::{COLUMNS, Column, Kind, Test, Wanted},
};

/// The most bytes of a filter.
pub const MAX_FILTER_BYTES: usize = 8_192;
/// How deep parentheses may stand in each other.
pub const MAX_FILTER_DEPTH: usize = 32;
/// The most values that a filter may compare with, over all its comparisons.
pub const MAX_FILTER_VALUES: usize = 1_000;

/// What is wrong, and with which bytes of the text.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) field: String,
    pub(super) rule: String,
    pub(super) span: Option<Range<usize>>,
}

type Input<'t> = Stateful<LocatingSlice<&'t str>, Reading<'t>>;
type Parsed<T> = Result<T, Problem>;

/// What is known while reading.
#[derive(Debug)]
struct Reading<'t> {
    values: &'t BTreeMap<String, String>,
    used: BTreeSet<&'t str>,
    depth: usize,
    compared: usize,
}

/// A value as it is written.
struct Literal<'t> {
    text: Cow<'t, str>,
    /// Between quotes: a text and nothing else.
    quoted: bool,
    /// Name of the placeholder that it stands for.
    placeholder: Option<&'t str>,
    span: Range<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Has,
}

pub(super) fn parse(text: &str, values: &BTreeMap<String, String>) -> Parsed<Option<Predicate>> {
    if text.len() > MAX_FILTER_BYTES {
        return Err(Problem::whole(format!("must be at most {MAX_FILTER_BYTES} bytes, is {}", text.len())));
    }
    let state = Reading { values, used: BTreeSet::new(), depth: 0, compared: 0 };
    let mut input = Stateful { input: LocatingSlice::new(text), state };
    blank(&mut input);
    let predicate = match input.is_empty() {
        true => None,
        false => Some(expression(&mut input)?),
    };
    if !input.is_empty() {
        return Err(unexpected(&mut input, "AND, OR or the end"));
    }
    if let Some(name) = values.keys().find(|name| !input.state.used.contains(name.as_str())) {
        let rule = format!("filter has no ${name}: leave the value out, or put ${name} where it belongs");
        return Err(Problem { field: format!("filter_values[{name:?}]"), rule, span: None });
    }
    Ok(predicate)
}

// === the grammar ===

fn expression(input: &mut Input<'_>) -> Parsed<Predicate> {
    let mut factors = Vec::new();
    loop {
        factors.push(factor(input)?);
        // Side by side means the same as AND.
        if !keyword(input, "AND") && (input.is_empty() || input.starts_with([')', ','])) {
            return Ok(one_or(factors, Predicate::And));
        }
    }
}

fn factor(input: &mut Input<'_>) -> Parsed<Predicate> {
    let mut terms = vec![term(input)?];
    while keyword(input, "OR") {
        terms.push(term(input)?);
    }
    Ok(one_or(terms, Predicate::Or))
}

fn one_or(mut many: Vec<Predicate>, group: fn(Vec<Predicate>) -> Predicate) -> Predicate {
    match (many.len(), many.pop()) {
        (1, Some(one)) => one,
        (_, last) => {
            many.extend(last);
            group(many)
        }
    }
}

fn term(input: &mut Input<'_>) -> Parsed<Predicate> {
    blank(input);
    let negated = keyword(input, "NOT") || symbol(input, "-").is_some();
    let simple = match symbol(input, "(") {
        None => comparison(input)?,
        Some(open) => {
            input.state.depth += 1;
            if input.state.depth > MAX_FILTER_DEPTH {
                return Err(Problem::at(open, format!("parentheses stand {MAX_FILTER_DEPTH} deep at most")));
            }
            let inner = expression(input)?;
            input.state.depth -= 1;
            match symbol(input, ")") {
                Some(_) => inner,
                None if input.is_empty() => return Err(Problem::at(open, "this parenthesis is not closed")),
                None => return Err(unexpected(input, "AND, OR or )")),
            }
        }
    };
    blank(input);
    Ok(if negated { simple.negated() } else { simple })
}

fn comparison(input: &mut Input<'_>) -> Parsed<Predicate> {
    let start = input.current_token_start();
    let Some(name) = word(input) else {
        return Err(match input.starts_with(['"', '\'', '$']) {
            true => Problem::at(rest(input), "a value stands by itself: write column = value"),
            false => unexpected(input, "a comparison such as price < 50"),
        });
    };
    let named = start..input.previous_token_end();
    if let Some(word) = ["AND", "OR", "NOT"].into_iter().find(|word| word.eq_ignore_ascii_case(name)) {
        return Err(Problem::at(
            named,
            match word == name {
                true => format!("{word} stands where a comparison such as price < 50 must"),
                false => format!("write {word} in capitals"),
            },
        ));
    }
    let column = column(input, name, named)?;
    blank(input);
    let Some((operator, span)) = operator(input)? else {
        return Err(unexpected(input, &format!("one of = != < <= > >= : after {name}")));
    };
    blank(input);
    let test = |wanted| Predicate::Test(Test { column: column.clone(), wanted });
    if operator == Operator::Has && symbol(input, "*").is_some() {
        return Ok(test(Wanted::Present));
    }
    if let Some(function) = function(input)? {
        if operator != Operator::Has {
            let rule = format!("write {name}: {function}(…), with a colon");
            return Err(Problem::at(span, rule));
        }
        return Ok(test(if function == "ANY" { any_of(input, &column)? } else { within(input, &column)? }));
    }
    let value = literal(input)?.ok_or_else(|| unexpected(input, "a value"))?;
    if matches!(operator, Operator::Equal | Operator::NotEqual | Operator::Has) {
        let equal = test(column.one_of(&[value])?);
        return Ok(if operator == Operator::NotEqual { equal.negated() } else { equal });
    }
    if !column.is_ordered() {
        let rule = format!("{column} is {}: compare it with = != : or ANY(…)", column.kind());
        return Err(Problem::at(span, rule));
    }
    let number = column.number_of(&value)?;
    Ok(test(Wanted::Within(match operator {
        Operator::Less => (Bound::Unbounded, Bound::Excluded(number)),
        Operator::LessOrEqual => (Bound::Unbounded, Bound::Included(number)),
        Operator::Greater => (Bound::Excluded(number), Bound::Unbounded),
        _ => (Bound::Included(number), Bound::Unbounded),
    })))
}

/// The column of that name; of an attribute with its key, which follows.
fn column<'t>(input: &mut Input<'t>, name: &'t str, named: Range<usize>) -> Parsed<Column> {
    if name == "attributes" {
        let key = match opt::<_, _, Problem, _>(".").parse_next(input)? {
            Some(_) if input.starts_with(['"', '\'']) => quoted(input)?,
            Some(_) => word(input).map(Into::into).ok_or_else(|| unexpected(input, "the attribute's key"))?,
            None => return Err(Problem::at(named, "write attributes.KEY")),
        };
        return Ok(Column::Attribute(key.into_owned().into()));
    }
    let column = Column::named(name).ok_or_else(|| {
        let known: Vec<_> = COLUMNS.iter().map(|(name, _)| *name).collect();
        let rule = format!("{name} is no column: there are {}, attributes.KEY", known.join(", "));
        Problem::at(named.clone(), rule)
    })?;
    match input.starts_with('.') {
        true => Err(Problem::at(named, format!("{column} has no fields of its own"))),
        false => Ok(column),
    }
}

fn operator(input: &mut Input<'_>) -> Parsed<Option<(Operator, Range<usize>)>> {
    if let Some(span) = symbol(input, "==") {
        return Err(Problem::at(span, "write one ="));
    }
    let symbols = [
        ("!=", Operator::NotEqual),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
        ("=", Operator::Equal),
        (":", Operator::Has),
    ];
    Ok(symbols.into_iter().find_map(|(text, operator)| Some((operator, symbol(input, text)?))))
}

/// `ANY` or `IN`, and its opening parenthesis.
fn function(input: &mut Input<'_>) -> Parsed<Option<&'static str>> {
    for name in ["ANY", "IN"] {
        if keyword(input, name) {
            return match symbol(input, "(") {
                Some(_) => Ok(Some(name)),
                None => Err(unexpected(input, "(")),
            };
        }
    }
    Ok(None)
}

fn any_of(input: &mut Input<'_>, column: &Column) -> Parsed<Wanted> {
    let mut values = Vec::new();
    loop {
        blank(input);
        values.push(literal(input)?.ok_or_else(|| unexpected(input, "a value"))?);
        blank(input);
        match (symbol(input, ","), symbol(input, ")")) {
            (Some(_), _) => {}
            (None, Some(_)) => return column.one_of(&values),
            (None, None) => return Err(unexpected(input, ", or )")),
        }
    }
}

/// Google Retail's range: the lower bound belongs to it unless it says `e`, the upper one does not unless it says `i`.
fn within(input: &mut Input<'_>, column: &Column) -> Parsed<Wanted> {
    if !column.is_ordered() {
        let rule = format!("{column} is {}: write {column}: ANY(…)", column.kind());
        return Err(Problem::at(before(input), rule));
    }
    let mut bound = |end: &str, included: bool| {
        blank(input);
        let bound = match symbol(input, "*") {
            Some(_) => Bound::Unbounded,
            None => {
                let mut value = literal(input)?.ok_or_else(|| unexpected(input, "a number or *"))?;
                let marked = match value.quoted || value.placeholder.is_some() {
                    true => None,
                    false => value.text.strip_suffix(['i', 'e']).map(|number| number.to_owned()),
                };
                let included = match &marked {
                    Some(_) => value.text.ends_with('i'),
                    None => included,
                };
                value.text = marked.map_or(value.text, Into::into);
                let number = column.number_of(&value)?;
                if included { Bound::Included(number) } else { Bound::Excluded(number) }
            }
        };
        blank(input);
        symbol(input, end).ok_or_else(|| unexpected(input, end)).map(|_| bound)
    };
    Ok(Wanted::Within((bound(",", true)?, bound(")", false)?)))
}

// === the words ===

fn literal<'t>(input: &mut Input<'t>) -> Parsed<Option<Literal<'t>>> {
    let start = input.current_token_start();
    let (text, quoted, placeholder) = if input.starts_with(['"', '\'']) {
        (quoted(input)?, true, None)
    } else if symbol(input, "$").is_some() {
        let name = word(input).ok_or_else(|| unexpected(input, "the name of one of filter_values"))?;
        let values = input.state.values;
        let Some((name, value)) = values.get_key_value(name) else {
            let rule = format!("filter_values has no {name:?}: add it, or write the value here");
            return Err(Problem::at(start..input.previous_token_end(), rule));
        };
        input.state.used.insert(name);
        (value.as_str().into(), false, Some(name.as_str()))
    } else {
        // A time is written with colons; it begins with a digit.
        let with_colons = input.starts_with(|c: char| c.is_ascii_digit());
        let bare = |c: char| {
            c.is_alphanumeric()
                || matches!(c, '_' | '-' | '+' | '.' | '/' | '&' | '#' | '%')
                || c == ':' && with_colons
        };
        let text: Option<&str> = opt::<_, _, Problem, _>(take_while(1.., bare)).parse_next(input)?;
        let Some(text) = text else { return Ok(None) };
        (text.into(), false, None)
    };
    let span = start..input.previous_token_end();
    input.state.compared += 1;
    match input.state.compared <= MAX_FILTER_VALUES {
        true => Ok(Some(Literal { text, quoted, placeholder, span })),
        false => Err(Problem::at(span, format!("compares with {MAX_FILTER_VALUES} values at most"))),
    }
}

/// A text between quotes, in which a backslash makes the next character plain.
fn quoted<'t>(input: &mut Input<'t>) -> Parsed<Cow<'t, str>> {
    let start = input.current_token_start();
    let quote = any::<_, Problem>.parse_next(input)?;
    let mut text = Cow::Borrowed("");
    loop {
        let plain = |c: char| c != quote && c != '\\' && !c.is_control();
        let run: &str = take_while(0.., plain).parse_next(input)?;
        match &mut text {
            Cow::Borrowed("") => text = run.into(),
            text => text.to_mut().push_str(run),
        }
        let here = input.current_token_start();
        match input.next_token() {
            Some(end) if end == quote => return Ok(text),
            Some('\\') => match input.next_token() {
                Some(c @ ('"' | '\'' | '\\')) => text.to_mut().push(c),
                _ => {
                    return Err(Problem::at(
                        here..here + 1,
                        "a backslash must stand before a quote or a backslash",
                    ));
                }
            },
            Some(_) => return Err(Problem::at(here..here + 1, "a text must not hold control characters")),
            None => return Err(Problem::at(start..start + 1, "this quote is not closed")),
        }
    }
}

/// A name: of a column, a key, a placeholder.
fn word<'t>(input: &mut Input<'t>) -> Option<&'t str> {
    let in_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let starts = |c: char| c.is_alphanumeric() || c == '_';
    (peek::<_, _, Problem, _>(one_of(starts)), take_while(1.., in_word))
        .map(|(_, word)| word)
        .parse_next(input)
        .ok()
}

/// Takes a word of the language, and the white space around it, where it stands next.
fn keyword(input: &mut Input<'_>, keyword: &'static str) -> bool {
    blank(input);
    let in_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let found = opt::<_, _, Problem, _>(terminated(keyword, not(one_of(in_word)))).parse_next(input);
    let found = matches!(found, Ok(Some(_)));
    blank(input);
    found
}

/// Takes a symbol where it stands next.
fn symbol(input: &mut Input<'_>, symbol: &str) -> Option<Range<usize>> {
    let start = input.current_token_start();
    opt::<_, _, Problem, _>(symbol).parse_next(input).ok()??;
    Some(start..input.previous_token_end())
}

fn blank(input: &mut Input<'_>) {
    let _: Parsed<&str> = take_while(0.., char::is_whitespace).parse_next(input);
}

// === problems ===

impl Problem {
    fn whole(rule: impl Into<String>) -> Self {
        Self { field: "filter".to_owned(), rule: rule.into(), span: None }
    }

    fn at(span: Range<usize>, rule: impl Into<String>) -> Self {
        Self { field: "filter".to_owned(), rule: rule.into(), span: Some(span) }
    }
}

impl<I: Stream + Location> ParserError<I> for Problem {
    type Inner = Self;

    fn from_input(input: &I) -> Self {
        let at = input.current_token_start();
        Self::at(at..at, "is not understood")
    }

    fn into_inner(self) -> Result<Self, Self> {
        Ok(self)
    }
}

/// What stands next is not what should.
fn unexpected(input: &mut Input<'_>, expected: &str) -> Problem {
    match input.is_empty() {
        true => {
            let end = input.current_token_start();
            Problem::at(end..end, format!("ends where {expected} must follow"))
        }
        false => {
            let span = rest(input);
            let found = &input_text(input)[..span.len()];
            Problem::at(span, format!("{found:?} stands where {expected} must"))
        }
    }
}

/// The word or character that stands next.
fn rest(input: &mut Input<'_>) -> Range<usize> {
    let start = input.current_token_start();
    let text = input_text(input);
    let word = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let first = text.chars().next().map_or(0, char::len_utf8);
    start..start + word.max(first)
}

/// The character before.
fn before(input: &Input<'_>) -> Range<usize> {
    let end = input.previous_token_end();
    end.saturating_sub(1)..end
}

fn input_text<'t>(input: &Input<'t>) -> &'t str {
    *input.input
}

// === types ===

impl Column {
    /// Wants one of these values.
    fn one_of(&self, values: &[Literal<'_>]) -> Parsed<Wanted> {
        let (mut texts, mut numbers) = (Vec::new(), Vec::new());
        for value in values {
            match self.kind() {
                Kind::Number | Kind::Time => numbers.push(self.number_of(value)?),
                Kind::Attribute => match number(&value.text).filter(|_| !value.quoted) {
                    Some(number) => numbers.push(number),
                    None => texts.push(value.text.as_ref().into()),
                },
                Kind::Text | Kind::Path | Kind::Availability => {
                    let text = self.normal(&value.text).map_err(|rule| self.refuse(value, &rule))?;
                    texts.push(text);
                }
            }
        }
        texts.sort();
        texts.dedup();
        numbers.sort_by(f64::total_cmp);
        numbers.dedup();
        Ok(Wanted::OneOf { texts, numbers })
    }

    /// The value as a number of this column.
    fn number_of(&self, value: &Literal<'_>) -> Parsed<f64> {
        let (text, shown) = (&*value.text, &value.text);
        match self.kind() {
            Kind::Time => time(text).ok_or_else(|| {
                self.refuse(value, &format!("is a time: write it as \"2026-11-24T10:15:00Z\", not {shown:?}"))
            }),
            _ if value.quoted && number(text).is_some() => {
                Err(self.refuse(value, &format!("is a number: write {text} without quotes")))
            }
            _ => number(text).ok_or_else(|| {
                self.refuse(value, &format!("is a number: compare it with one, not with {shown:?}"))
            }),
        }
    }

    fn refuse(&self, value: &Literal<'_>, rule: &str) -> Problem {
        match value.placeholder {
            None => Problem::at(value.span.clone(), format!("{self} {rule}")),
            Some(name) => Problem {
                field: format!("filter_values[{name:?}]"),
                ..Problem::at(value.span.clone(), format!("{self} {rule}"))
            },
        }
    }
}

/// A finite number in decimals.
pub(super) fn number(text: &str) -> Option<f64> {
    let decimal = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
    text.parse().ok().filter(|number: &f64| decimal && number.is_finite())
}

/// Milliseconds since 1970 of an RFC 3339 time, or of the first instant of a day (UTC).
fn time(text: &str) -> Option<f64> {
    let millis: i64 = match text.parse::<jiff::Timestamp>() {
        Ok(time) => time.as_millisecond(),
        Err(_) => {
            let day = text.parse::<jiff::civil::Date>().ok().filter(|_| text.len() == 10)?;
            jiff::tz::TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).ok()?.as_millisecond()
        }
    };
    Some(EventTime::clamped(millis).as_millis() as f64)
}
